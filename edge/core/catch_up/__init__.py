"""Subscriptions, and the events that they missed (protocol section 7, "Subscribe" and "Resume").

Theory of operation
-------------------
`Session` reads a client's message. It answers malformed messages and wrong topics itself, and hands
requests to `Subscriptions` (`subscriptions.py`), one object for each connection, which answers them
in their order. `protocol/replies.py` builds every reply.

While a connection is *live*, a request is performed at once. A subscribe with `since` or `last`
becomes a *pending subscription*; pending ones are *gathered* until a subscribe comes without
`more`. Then one *catch-up* serves them all, and requests wait behind it (`states.py`).

`ConnectionCatchUp` (`connection_catch_up.py`) is the state machine of one catch-up, and decides the
order of resumed events: stream by stream, each in the order of its offsets. It does not wait and
reads no journal. `edge/catch_up_runner.py` calls `step` again and again; a step hands over at most
64 KiB or looks at 512 records, and returns the *journal range* that it is missing, or that it
awaits the streams. The last step finds every stream at its head and lets the pending subscriptions
go live in the same turn, which is why there is neither a hole nor a repeat between replayed and
live events.

`last` needs a search for the offset where the newest events begin (`last_events.py`).

`Selection` (`selection.py`) decides which records are sent, by topic and offset. Live subscriptions
go on during a catch-up; their *coverage* (`coverage.py`) tells which events they have brought, so
that the replay does not send those again. Permission is checked for every event, when it is sent.

Bounds: 64 KiB or one frame, and 2,048 comparisons of a subscription, a step; the next step comes
when the client has room. Requests that wait are at most twice the message burst and 8 MiB; with
more, `Session` closes with 4029.
`edge/catch_up_runner.py` lets 4 catch-ups step in a turn of the loop, and holds the records of at
most 8 reads of about 1 MiB; users take turns with both.
"""
