"""`Mailbox`: the state of an emitter, between emitting threads and the link thread.

No lock guards it, because an exception of a signal handler may leave a lock taken:

- The link thread alone touches outbox and dialogue. Python runs signal handlers in the main thread
  only, so nothing interrupts it.
- Other threads hand events over (`emitters.handover`), read what the link thread has published as
  one object, and wait for its news (`emitters.waiters`). With a spool, `add` waits until the link
  thread has written the event to the file; events of several threads share a transaction.
"""

import threading
import time
from collections.abc import Callable, Sequence

from emitters.core.connection_watch import Trouble
from emitters.core.dialogue import Dialogue
from emitters.core.greeting import Greeting
from emitters.core.outbox import Outbox
from emitters.core.outgoing import Outgoing
from emitters.core.permission import Permission
from emitters.core.watched_topics import WatchedTopics
from emitters.errors import EmitterClosed, OutboxFull, SpoolUnavailable
from emitters.handover import Freed, Handover, Node, OutboxBounds, answer
from emitters.published import Published
from emitters.real_threads import new_lock
from emitters.waiters import Receipt, Waiters
from emitters.wakeup import WakeUp
from relay.wire.control import HelloReply
from relay.wire.notices import Notice

CLOSED = "this emitter was closed"
FAILED = "this emitter has failed; the log says why"
NAP_S = 0.02
"""While nothing can be sent, new events do not wake the link thread up more often than this."""
LIVE_ROOM_TIMEOUT_S = 1.0
"""How long a live value waits for the link thread to take earlier ones."""
FOLLOWER_S = 0.0001
MAX_FOLLOWERS = 64
"""How long, and how often, the link thread waits for a thread's next event before it sends."""


class Mailbox:
    """Any thread calls the first half of the methods, the link thread the second."""

    def __init__(self, outbox: Outbox, dialogue: Dialogue, bounds: OutboxBounds) -> None:
        self._outbox = outbox
        self._dialogue = dialogue
        self._handover = Handover(bounds)
        self.watched = WatchedTopics()
        self.permission = Permission()
        self.waiters = Waiters()
        """Notified of more room, of acknowledgements, of an open or lost connection, of the end."""
        self.wake_up = WakeUp()
        self.has_ended = False
        """Whether the link thread has come to its end, and has closed the spool."""
        self._link_thread = 0
        self._follows = new_lock()
        """Released by the bell while the link thread waits for the next event of a thread."""
        self._follows.acquire()
        self._has_taken = False
        """Whether new events came since the link thread slept last."""
        self._was_open = False
        self._published = self._publish()

    # Any thread.

    def add(self, event: Outgoing, wait_s: float | None) -> None:
        """Take `event`; with `wait_s`, wait up to that many seconds for room.

        Raises `EmitterClosed`, `OutboxFull` or `SpoolUnavailable`; then it is not taken.
        """
        is_journaled = self._outbox.is_journaled(event.topic)
        if not is_journaled:
            if not self._handover.put(event, None, is_journaled=False):
                self._wait_to_put_live(event)
            return
        receipt = Receipt() if self._outbox.has_store else None
        if not self._handover.put(event, receipt, is_journaled=True):
            self._wait_to_put(event, receipt, wait_s or 0.0)
        self._wait_kept(receipt)

    def add_all(self, events: Sequence[Outgoing]) -> None:
        """Take all of `events` or none, without waiting for room; see `add`."""
        kinds = [self._outbox.is_journaled(event.topic) for event in events]
        receipts = [Receipt() if self._outbox.has_store and kind else None for kind in kinds]
        if not self._handover.put_all([*zip(events, receipts, kinds, strict=True)]):
            self._handover.refuse()
        self._wait_kept(*receipts)

    def acknowledgement(self) -> Callable[[], bool]:
        """Return the question whether all that was taken before this call is acknowledged."""
        target = self._handover.last().events
        # They leave the outbox in the order in which they were handed over.
        return lambda: self._published.freed_events >= target

    def wait_acknowledged(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all events taken before this call are acknowledged."""
        is_met = self.acknowledgement()
        self.waiters.wait(lambda: bool(self.end_reason) or is_met(), timeout)
        return is_met()

    def wait_open(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until events may be sent; return whether they may."""
        # Once no event is taken any more, there is nothing to wait for.
        self.waiters.wait(lambda: self.is_open or self._handover.last().end is not None, timeout)
        return self.is_open and not self.has_ended

    def is_watched(self, topic: str) -> bool:
        """Whether somebody watches the live topic `topic`."""
        was_needed = self.watched.is_needed
        is_watched = self._dialogue.subscriptions.is_watched(topic, self.watched.names)
        if self.watched.is_needed > was_needed:
            self.wake_up.send()
        return is_watched

    def counters(self) -> dict[str, int]:
        """Return the counters, by the names of protocol section 9."""
        return self._published.counters(self._handover.last(), self._handover.refused)

    def unacknowledged(self) -> int:
        """Return the number of unacknowledged events."""
        published = self._published
        return self._handover.last().events - published.freed_events

    @property
    def end_reason(self) -> str:
        """The reason for which no event is taken any more; empty while events are taken."""
        return self._handover.last().end or ""

    def refuse(self, reason: str) -> None:
        """Take no event any more. The first reason is the one that `add` names."""
        self._handover.end(reason)
        self.waiters.notify()

    # The link thread.

    @property
    def is_open(self) -> bool:
        """Whether events may be sent. The link thread alone changes it."""
        return self._dialogue.is_open

    @property
    def is_accepted(self) -> bool:
        """Whether the relay has accepted the hello. The link thread alone changes it."""
        return self._dialogue.is_accepted

    @property
    def trouble(self) -> Trouble | None:
        """The reason for which events do not reach the relay; None while they do."""
        return self._dialogue.trouble

    @property
    def is_fenced(self) -> bool:
        """Whether another process has the spool. The link thread alone changes it."""
        return self._dialogue.is_fenced

    @property
    def epoch(self) -> int:
        """The epoch of the sequence numbers, 0 until the relay has handed it out."""
        return self._outbox.epoch

    @property
    def relay_epoch(self) -> int | None:
        """The relay's epoch, as far as it is known."""
        return self._dialogue.relay_epoch

    def begin(self) -> None:
        """Be the mailbox of this thread."""
        self._link_thread = threading.get_ident()

    def finish(self, reason: str) -> None:
        """Take the last events, close the spool, and end every wait."""
        self._handover.end(reason)
        try:
            self.take_new()
            self._outbox.close()
        finally:
            self.has_ended = True
            self.waiters.notify()

    def take_new(self) -> None:
        """Move the events that were handed over to the outbox, and answer their threads."""
        nodes = list(self._handover.take())
        self._outbox.refused = self._handover.refused
        if not nodes:
            return
        self._has_taken = True
        try:
            self._add([node for node in nodes if node.event is not None])
        except BaseException:
            # This thread ends; nobody else would answer those that wait.
            answer(nodes, EmitterClosed(FAILED))
            raise
        self._publish_changes()

    def prepare_to_sleep(self, now: float, may_send: bool) -> float:
        """Return when the link thread has to act again; until then `add` wakes it up.

        That is `now` when there is work. Without `may_send` the socket takes none at present.
        """
        has_taken, self._has_taken = self._has_taken, False
        is_open = self._dialogue.is_open
        if is_open and may_send and self._outbox.has_work:
            return now
        due_at = self._dialogue.due_at(now)
        watched_due_at = self.watched.due_at(now) if self._dialogue.is_accepted else None
        if watched_due_at is not None:
            due_at = min(due_at, watched_due_at)
        if (
            has_taken
            and not self._outbox.has_store
            and not (is_open and self._outbox.has_room_to_send)
        ):
            # More of what cannot be sent now need not be taken at once.
            return min(due_at, now + NAP_S)
        self._handover.arm(self.wake_up.ring)
        # Looked at afterwards: a thread that has handed over before has not rung.
        return now if self._handover.has_new else due_at

    def on_awake(self) -> None:
        """Note that the link thread does not sleep any more; take what is new."""
        self._handover.disarm()
        self.take_new()
        if self._outbox.has_store:
            self._take_followers()

    def on_subscriptions(self, frames: Sequence[bytes]) -> None:
        """Take the frames that the data socket received."""
        for frame in frames:
            self._dialogue.on_subscription(frame)
        if not self._dialogue.is_accepted:
            self.watched.relay_lost()
        # Values that nobody watched may be wanted now.
        self._outbox.live.interest_changed()
        self._publish_changes()

    def on_notices(self, notices: Sequence[Notice], now: float) -> None:
        """Take acknowledgements and requests to send again."""
        for notice in notices:
            self._dialogue.on_notice(notice, now)
        self._publish_changes()

    def on_demand_changed(self) -> None:
        """Other topics are watched, as far as the demand says it."""
        self._outbox.live.interest_changed()

    def take_hello(self, now: float) -> Greeting | None:
        """Return the greeting of a hello that is due, which counts as sent, or None."""
        if not self._dialogue.hello_is_due(now):
            return None
        self._dialogue.on_hello_sent(now)
        return Greeting.of(self._outbox, self._dialogue.relay_epoch)

    def on_hello_accepted(self, reply: HelloReply, now: float) -> None:
        """Go on where the relay is, by its reply to the latest hello.

        Raises `SpoolUnavailable`; see `Dialogue.on_hello_accepted`.
        """
        try:
            self._dialogue.on_hello_accepted(reply, now)
        finally:
            self._publish_changes()

    def on_hello_refused(self, code: str, text: str) -> None:
        """Wait, or stop for good: the relay refused the latest hello."""
        self._dialogue.on_hello_refused(code, text)
        self._publish_changes()

    def take_live(self, max_values: int) -> list[Outgoing]:
        """Remove and return values to send, as far as somebody watches them."""
        live = self._outbox.live
        return live.take(self.is_watched, max_values) if live.has_unexamined else []

    def is_sent_again(self, event: Outgoing) -> bool:
        """Whether a value of the last `take_live` was sent before."""
        return self._outbox.live.is_sent_again(event)

    def put_live_back(self, values: list[Outgoing]) -> None:
        """Undo `take_live` for values that the socket did not take."""
        self._outbox.live.put_back(values)

    def take_events(self, max_events: int, now: float) -> tuple[int, list[Outgoing]]:
        """Move events in flight; return the first one's sequence number and the events."""
        if not self._outbox.in_flight:
            self._dialogue.on_events_sent(now)
        return self._outbox.take_unsent(max_events)

    def put_events_back(self, count: int) -> None:
        """Undo `take_events` for the last `count` events."""
        self._outbox.put_back(count)

    def take_report(self, now: float) -> dict[str, int] | None:
        """Return the counters to report to the relay, which count as reported, or None."""
        # They change with every value sent; no other thread waits for that.
        self._published = self._publish()
        return self._dialogue.report_to_send(now)

    def take_last_report(self, now: float) -> dict[str, int] | None:
        """Give up the live values that wait; return the counters unless they were reported."""
        self._outbox.live.give_up()
        self._published = self._publish()
        return self._dialogue.report_to_send(now, at_once=True)

    def is_drained(self) -> bool:
        """Whether everything is acknowledged and every unsent live value was looked at."""
        return not (
            self._handover.has_new or len(self._outbox) or self._outbox.live.has_unexamined_unsent
        )

    def _wait_kept(self, *receipts: Receipt | None) -> None:
        for receipt in filter(None, receipts):
            if threading.get_ident() == self._link_thread:
                self.take_new()
            receipt.wait()

    def _wait_to_put(self, event: Outgoing, receipt: Receipt | None, wait_s: float) -> None:
        """Wait up to `wait_s` seconds for room, and put `event` there or refuse it."""
        give_up_at = time.monotonic() + wait_s
        while self.waiters.wait(
            lambda: self._handover.has_room_for(event, is_journaled=True),
            give_up_at - time.monotonic(),
        ):
            # Another thread may have been faster.
            if self._handover.put(event, receipt, is_journaled=True):
                return
        self._handover.refuse()

    def _wait_to_put_live(self, event: Outgoing) -> None:
        """Wait until the link thread has taken earlier values, as soon as it runs."""
        give_up_at = time.monotonic() + LIVE_ROOM_TIMEOUT_S
        while True:
            if threading.get_ident() == self._link_thread:
                self.take_new()
            self.wake_up.send()
            if not self.waiters.wait(
                lambda: self._handover.has_room_for(event, is_journaled=False),
                give_up_at - time.monotonic(),
            ):
                self._handover.count_refused()
                raise OutboxFull("the emitter's thread is busy and takes no live values")
            if self._handover.put(event, None, is_journaled=False):
                return

    def _add(self, nodes: Sequence[Node]) -> None:
        """Give the events of `nodes` to the outbox, and answer the threads that wait for that."""
        events = [node.event for node in nodes if node.event is not None]
        try:
            self._outbox.add(events)
        except SpoolUnavailable as error:
            if len(nodes) == 1:
                self._not_kept(nodes[0], error)
            else:
                # One that is too large must not cost the others.
                for node in nodes:
                    self._add([node])
        else:
            answer(nodes)

    def _not_kept(self, node: Node, error: SpoolUnavailable) -> None:
        assert node.event is not None
        if node.receipt is not None:
            node.receipt.give(error)
        else:
            # When it was emitted, its kind was not known to be journaled.
            self._outbox.live.put(node.event)

    def _take_followers(self) -> None:
        """Take what threads hand over once their event is kept: `emit` takes half the time."""
        for _ in range(MAX_FOLLOWERS):
            if not self._has_taken:
                return
            self._has_taken = False
            self._handover.arm(self._follows.release)
            if not self._handover.has_new:
                self._follows.acquire(timeout=FOLLOWER_S)
            self._handover.disarm()
            # Taken back if the bell has rung without being waited for.
            self._follows.acquire(blocking=False)
            self.take_new()

    def _publish(self) -> Published:
        outbox, taken = self._outbox, self._handover.taken
        # What was handed over and is not in the outbox any more takes no room.
        freed = Freed(taken.events - len(outbox), taken.event_bytes - outbox.bytes)
        self._handover.freed = freed
        live = outbox.live
        return Published(
            freed.events, taken.live, outbox.acknowledged, live.put_count, live.sent, live.conflated
        )

    def _publish_changes(self) -> None:
        before, self._published = self._published, self._publish()
        if self.is_open is not self._was_open or self._published != before:
            self._was_open = self.is_open
            self.waiters.notify()
