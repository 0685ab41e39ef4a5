"""The relay process: numbers the events of emitters, journals them, and publishes them to edges.

Theory of operation
===================

One thread runs one loop (`server.Relay.run`) over three ZeroMQ sockets (`sockets`): events arrive
on the ingress (XSUB) and leave on the egress (XPUB); requests and notices use the control socket
(ROUTER). Whenever a socket is readable, the loop takes a bounded amount of work from it: first
subscriptions, then requests, then one batch of events.

A batch, in the order in which nothing can be lost (`server.Relay._relay_batch`):

1. `core.intake.Intake.take` checks each message. Events of journaled kinds are gathered by stream,
   other events are live values. `core.emitters.KnownEmitters.advance` takes the next sequence
   number of a tracked emitter and refuses duplicates, gaps and strangers.
2. `sequencer.Sequencer.stamp_live` stamps the live values with offset 0. They are published at
   once, because they do not depend on the disk.
3. `sequencer.Sequencer.commit` gives every other event the next offset of its stream and appends
   events, emitters' cursors and task states to the journal in one transaction.
4. The events are published, and each emitter's new sequence number is acknowledged (`notifier`).

So an event is in the journal before any edge sees it or its emitter forgets it. If the relay dies
between 3 and 4, edges replay it from the journal, and its emitter says hello, learns from the
cursor that the journal has it, and does not send it again. If the commit fails, nothing of step 4
happens, `KnownEmitters.roll_back` forgets the taken numbers, and `Intake.journaling` is False:
events of streams are refused, so that emitters keep theirs, until a heartbeat finds that the
journal can be written again. At a gap, `notifier` requests a resend once the batch is done.

Where each decision is made:

- acknowledgements, and their time: `Sequencer.commit` and `KnownEmitters.commit`; their form and
  delivery: `notifier`. Admission of an emitter under a name: `KnownEmitters.admit`.
- replies to requests: `control.ControlService`. Routes of subscriptions: `core.subscriptions`.
- values for late subscribers: `core.retained`. Removal of old events: `core.retention`.
- the file: `journal`. Counters: `core.counters`. State shared by all of these: `state.SharedState`.

`core` decides without sockets, files or clocks; `wire` holds the formats that every side speaks;
`shared` holds helpers for all programs. Edges and emitters import `wire` and `shared` only.

Bounds (policy when full):

- batch: 256 messages or 4 MiB, counting refused messages (the rest waits in ZeroMQ)
- turn: 16 requests, 1000 subscriptions (the rest waits in ZeroMQ); a reply has about 1 MiB and
  4096 events (the peer asks for the next page)
- live values, unfinished and finished tasks: 10,000, 10,000 and 1,000, each group 32 MiB (the one
  with the oldest update is forgotten, and a task with the next commit in the journal too)
- journal: age and bytes of each stream (the oldest rows go, 64 with each commit); 10,000 cursors
  (the longest silent go); known emitters: 20,000 (one without a cursor goes, and says hello again)
- resend requests: one for each emitter, until the end of the turn
- ZeroMQ queues count messages, not bytes: from each emitter and to each control peer 1000, then
  the peer has to wait, or its reply is dropped and it asks again; to each edge RELAY_EGRESS_HWM,
  then its newest messages are dropped, and it replays them. The events of one emitter of ours that
  are on their way have at most 16 MiB; other publishers are trusted (`docs/operations.md`).
"""
