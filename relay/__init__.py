"""The relay process: numbers the events of emitters, journals them, and publishes them to edges.

Theory of operation. One thread runs one loop (`server.Relay`) over three ZeroMQ sockets: events
arrive on the ingress (XSUB) and leave on the egress (XPUB); requests and notices use the control
socket (ROUTER). `zmtp` reads and writes their protocol, and `net` has the connections. When sockets
are readable, the loop takes a bounded amount of work from each, and of each peer: first
subscriptions, then requests, then one batch of events. A batch (`server.Relay._relay_batch`):

1. `core.intake.Intake.take` checks each message and gathers events of journaled kinds by stream;
   other events are live values. `core.emitters.KnownEmitters.advance` takes the next sequence
   number of an admitted emitter, and refuses duplicates and events after a gap.
2. `sequencer.Sequencer.stamp_live` stamps live values with offset 0. They are published at once.
3. `sequencer.Sequencer.hand_over` gives every other event the next offset of its stream and hands
   the batch to `journal.writer.JournalWriter`. Its thread appends events, emitters' cursors and
   task states to the journal: all batches that wait, in one transaction.
4. The thread wakes the loop. `Sequencer.collect` takes the outcomes in order; the events are
   published, then each emitter's newest number is acknowledged (`notifier`). Resends are requested
   where a gap was found.

So an event is in the journal before an edge sees it or its emitter forgets it, and while the disk
is slow, heartbeats, live values, subscriptions and requests go on. The loop reads the journal by
`journal.replayer.PublishedJournal`, which shows what is published. If the relay dies between 3 and
4, edges replay the event, and its emitter, which says hello, learns from the cursor not to send it
again. If the commit fails, `KnownEmitters.roll_back` takes the numbers back of all batches that
were handed over, no event of a stream is published or acknowledged, and `Intake.journaling` is
False: events of streams are refused, and emitters keep theirs, until a heartbeat finds that the
journal can be written again.

Where each decision is made:

- acknowledgements, and their time: `Sequencer.collect` and `KnownEmitters.commit`; their form and
  delivery: `notifier`. Admission of an emitter under a name: `KnownEmitters.admit`.
- what an emitter is believed about its acknowledged events: `core.proofs`, asked by
  `control.ControlService` at each hello.
- replies to requests: `control.ControlService`; their turns and shares: `answering`. Routes of
  subscriptions, and those of the relay at the emitters: `core.subscription_router`. Watched topics:
  `core.demand`, told by `demand_service`.
- the end of tasks whose emitters are gone: `core.orphans`; `task_watch` looks for them at each
  heartbeat, and puts their final updates into the intake.
- values for late subscribers: `core.retained`. Removal of old events: `core.retention`.
- when a new epoch begins: `core.epochs`. The file: `journal`.
- who may connect, with which rights: `core.permission`, asked by `net.gate`. Changes of the list:
  `peer_changes`, which the loop asks at each heartbeat.
- counters: `core.counters`. State shared by all of these: `state.SharedState`.

`core` has no sockets, files or clocks; `wire` holds the formats that every side speaks; `shared`
holds helpers of all programs. Edges and emitters import `wire` and `shared` only.

Bounds, each with its policy when full:

- batch: 256 messages or 4 MiB, refused ones included; the rest waits at its publishers
- batches that wait for the disk: 256, or 64 MiB; then no event is read, live values included
- turn: 5 ms for each socket, 1 ms for requests, and one peer at least; 1000 subscriptions, 250 of
  one subscriber; 16 requests, one of each peer; 64 events of one publisher; 64 pings; the rest
  waits at the peers
- requests: a tenth of the processor for one peer, three tenths for all; the rest waits at the peers
- malformed and forbidden messages: a tenth for one peer, a fifth for all; reads without a message:
  a tenth for one connection; then the connection is not read for a while
- reply: about 1 MiB, 512 values or 1,024 events, these read in pieces of 128 in turns; the peer
  asks for the next page. A peer for which 2 MiB wait is not read before it reads; notices are
  dropped from 4 MiB on, and the peer asks again
- message: 8 frames, 1 MiB at the ingress, 2 MiB at the control socket, 1 KiB at the egress; of more
  frames or frames of more than 16 MiB, the connection ends; 128 MiB of incomplete messages at each
  socket, then the connection with the most of it ends
- connections of one peer: three quarters of those that there are descriptors for, of all sockets
- unknown commands: 1,000 of one connection, then it ends
- handshake: 3 s, and 1,024 connections of each socket at a time, or an eighth of those that there
  are descriptors for; the oldest gives way
- subscriptions: 10,000 and 1 MiB of one peer, then its connection ends; 65,536 and 16 MiB of all,
  then that of the peer with the most; at the emitters about 1000 (`shared.covering_prefixes`), of
  which 1 MiB may wait for one
- watched topics: 1,048,576; an edge beyond that is refused and subscribes without hints
- live values, unfinished tasks, finished tasks: 10,000, 10,000 and 1,000, 32 MiB for each group;
  the one with the oldest update is forgotten, a task with the next commit also in the journal
- look for orphaned tasks: 512 emitters and 256 tasks; the others have their turn at the next one
- journal: age and bytes of each stream; the oldest rows are removed, up to 64 with each commit
- emitters: 10,000 cursors, of which the longest silent is forgotten; 20,000 known emitters, of
  which one without a cursor is dropped and says hello again; one resend request for each
- events for a subscriber: RELAY_EGRESS_HWM, then its newest messages are dropped, and an edge
  replays them; with more than RELAY_EGRESS_BYTES it is disconnected, and replays as well; four
  times as many bytes for all subscribers together, then the slowest is disconnected
"""

PROJECT = "event-relay"
"""By it `edge` and `emitters` know that Python has found this package and no other of its name."""
