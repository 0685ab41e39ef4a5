"""The streams that this edge follows, and the present state of tasks and live topics (section 6).

`Inbound` (`inbound.py`) takes every message of the relay. `Streams` (`streams.py`) holds a `Stream`
for each journaled kind: `StreamFollower` (`follower.py`) puts records in order and finds holes,
`History` (`history.py`) remembers recent records in pages, `Record` (`record.py`) is one event.
`TaskBoard` and `LastValues` hold the newest state of tasks and live topics; `Snapshots` answers
from them for a new subscriber. `RelayState` (`relay_state.py`) decides when to synchronize with the
relay and when it counts as lost.

Nothing here sends a request: `Inbound` returns the repairs that are due, `History` the offsets
that are missing, and the shells in `edge/upstream` request them.
"""
