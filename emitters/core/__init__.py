"""The decisions of an emitter. No sockets, no threads, no files, no clock.

Theory of operation, with the shell around it.

An `Emitter` turns each call of `emit` into an `Outgoing` (topic and packed envelope) and puts it
into its `Mailbox` (`emitters.mailbox`). The mailbox holds two objects, which the link thread alone
touches; `emit` only hands the event over (`emitters.handover`):

- the `Outbox`. Events of journaled kinds are numbered at once, and move from unsent to in flight
  to acknowledged; only an acknowledgement removes them. Live values wait in `UnsentValues`, the
  newest of each topic, until somebody watches the topic: the relay's subscriptions
  (`ReceivedSubscriptions`) and its demand (`WatchedTopics`) say so. With a spool every numbered
  event is in the file before `emit` returns.
- the `Dialogue`, a state machine: DISCONNECTED, GREETING, ACCEPTED, OPEN, PROBING, FENCED. Only in
  OPEN and PROBING events are sent. A lost connection leads back to DISCONNECTED, and the next
  reply to hello says from which number to go on.

Threads. Any thread may call `emit`; it never waits for the network, and holds no lock that an
exception of a signal handler could leave taken. With a spool it waits until the link thread has
written the event to the file. One more thread, the
`LinkThread` (`emitters.link`), owns the sockets and runs the `LinkLoop`: wait for a message, a
wake-up or a deadline; give the dialogue the received subscriptions, notices and replies; send hello
when it is due (`emitters.link_requests`); send one batch of live values and one of events
(`emitters.sender`); report the counters. Callbacks of `on_watch_change` run in it too. `retained`
asks through the `ControlClient` from any thread and waits for a future. `TaskManager` and
`ResourceMonitor` have threads of their own and know of an emitter only the protocols in
`emitters.core.ports`.

Calls go one way: emitter and link thread call the mailbox, the mailbox calls outbox and dialogue,
the dialogue calls the outbox. Nothing calls back, except that the link is woken up.

Bounds, each with what happens at it:

- unacknowledged events: `max_events` and `max_bytes`; `emit` raises `OutboxFull`, or waits first
- live values: 10,000 topics, 32 MiB; the oldest sent value is forgotten, then the unsent value that
  was put first is given up (`conflated`)
- events in flight: 8,192 and 16 MiB, in PROBING one; the others wait unsent
- subscriptions: 10,000; further ones are ignored. Requests: 1,000; `RelayUnavailable`
- watched topics: those of the relay, about 10 bytes each (`watched_topics`)
- tasks: 1,000 that wait; `TasksRefused`. States of finished tasks: 200, 16 MiB; the oldest goes

Ends. `close` refuses further events, waits for acknowledgements, sends a last report, and ends
the thread; then the spool is closed. An exit hook does the same with 5 s; before it, the hook of
each `TaskManager` sends the final updates of its unfinished tasks. A forked child has no link
thread: it refuses to emit, `close` does nothing, and the spool's lock file is given up to the
parent. A signal handler may emit, whatever it interrupts, and may raise: the interrupted call has
happened or has not.
"""
