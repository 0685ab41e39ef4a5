"""Every decision of the edge, without I/O: no socket, no clock, nothing that waits.

Theory of operation
-------------------
**Objects.** A worker has one `ConnectionManager` (hub), one `Streams` with a follower and a history
for each stream, one `TaskBoard`, one `LastValues`, and one `Inbound` that feeds them (streams).
A client has one WebSocket protocol object (websocket), and one `Session`, which owns its
`Subscriptions` (catch_up). `edge/worker.py` builds the shells around them: ZeroMQ in
`edge/upstream`, sockets in `edge/websocket`, time in `edge/scheduling`.

**An event.** `upstream/subscriber.py` reads a batch and hands each message to `streams/inbound.py`.
The stream's follower (`streams/follower.py`) releases offsets in order, holds records behind a
hole, and names the repair to request; the history (`streams/history.py`) remembers each record.
A record that a client wants is decoded, encoded as JSON and framed once (`streams/record.py`).
The manager (`hub/connections.py`) gathers the frame for each audience (`hub/audience.py`). After
the batch, `scheduling/throttle.py` flushes: one system call for each client.

**A subscribe.** `session.py` has it parsed (`protocol/requests.py`) and refuses a wrong topic with
a text from `protocol/replies.py`. `catch_up/subscriptions.py` asks the access rules
(`identity/access.py`) and the quota (`hub/subscription_quota.py`), and subscribes in the manager.
The first client of a selector makes `hub/relay_subscriptions.py` cover it with a subscription at
the relay, report the topic (`hub/demand_log.py`), and request the last values. The reply carries
the position (`streams/streams.py`).

**A resume.** The order of resumed events, and where they join the live ones, is decided in
`catch_up`: its `__init__` has the theory. Records come from the history, or from the relay's
journal through `edge/catch_up_runner.py` and `upstream/replayer.py`.

**Others.** The workers of all edges tell each other who is subscribed to which topic: `presence`
has the theory. `streams/inbound.py` hands their events to `edge/cooperation.py`, which also closes
the connections of a user when a command says so.

**Revoked tokens.** `streams/revocation_stream.py` reads their stream from its first event into
`identity/revocations.py`, which every verification, admission and renewal asks. Until it has read
it to the end, `control/readiness.py` lets nobody in. `edge/revoking.py` closes connections.

**Changed rules.** `edge/rules.py` gives the access the rules of a changed `relay.toml`, and the
endpoint has every session ask it again: `Subscriptions.renew` ends what is no longer allowed.

**States.** The relay: `streams/relay_state.py`, a table. A WebSocket:
`websocket/server_protocol.py`. A connection's catch-up: `catch_up/states.py`. Elsewhere there are
counters and maps only.

**Bounds.** Each limit is a constant or a setting beside the code that enforces it:
messages: rates of a connection (`session.py`), and a share of the worker's time of a user, beyond
which they wait (`edge.scheduling.time_slices`); frames are parsed in the turn of their user;
subscriptions: settings, refused beyond (`hub/subscription_quota.py`); at the relay about 1,000
prefixes (`relay.shared.covering_prefixes`); reported topics: 262,144, then none is reported and the
subscriptions are plain (`hub/demand_log.py`);
one reading of the relay: 512 messages or 4 MiB, then a flush (`upstream/subscriber.py`);
gathered frames: 4 MiB, or 2^20 entries, then a flush at once (`hub/connections.py`);
held records: 10,000 or 16 MiB a stream, then dropped and replayed (`streams/follower.py`);
histories: `EDGE_HISTORY_BYTES` together, oldest pages first (`streams/history.py`);
tasks: 20,000 or 64 MiB, last values: 10,000 or 32 MiB, oldest first; unanswered requests: 10,000,
the newest refused (`upstream/requests.py`); catch-up steps: see `catch_up`; revoked tokens and
users: 100,000 each, beyond which all older tokens are refused (`identity/revocations.py`).

**A slow client** is closed with 4008 when more than `EDGE_MAX_QUEUED_BYTES` or 65,536 frames wait
for it, or when it has the longest queue and more than `EDGE_MAX_QUEUED_TOTAL_BYTES` wait for all
clients: decided in `websocket/send_queue.py`, whenever a frame is added to a queue.

Imports go downwards only: session, catch_up, streams, presence, hub and protocol, websocket,
identity, stats.
"""
