"""`Mailbox`: the state that emitting threads share with the link thread, and its only lock.

One lock guards outbox and dialogue together, because every step of the dialogue changes both: a
reply moves events back, an acknowledgement opens the window. Nobody else takes the lock or touches
the outbox.

- The lock is re-entrant, because a signal handler may emit while its thread holds the lock; a plain
  lock would wait for itself. `Outbox.add` refuses the case that would do harm.
- While it is held, no other lock of ours is taken and nothing is waited for but the spool's file.
  So callers may hold any lock of theirs: this one is always the last.
- The wake-up is sent after the lock is released, or the link thread would wake up to wait for it.
"""

import threading
from collections.abc import Sequence

from emitters.core.dialogue import Dialogue
from emitters.core.outbox import Outbox
from emitters.core.outgoing import Outgoing
from emitters.errors import EmitterClosed
from emitters.wakeup import WakeUp
from relay.wire.control import HelloReply
from relay.wire.notices import Notice

CLOSED = "this emitter was closed"


class Mailbox:
    """Emitting threads call the first half of the methods, the link thread the second."""

    def __init__(self, outbox: Outbox, dialogue: Dialogue) -> None:
        self._outbox = outbox
        self._dialogue = dialogue
        self._lock = threading.RLock()
        # Taken directly, for entering a condition costs `add` 0.2 µs more.
        self._changed = threading.Condition(self._lock)
        """Notified when the outbox may have more room and when events were acknowledged."""
        self._refusal: str | None = None
        """The reason why no event is taken any more."""
        self._link_sleeps = False
        """Whether the link thread has to be woken up for new events."""
        self.wake_up = WakeUp()

    # Emitting threads.

    def add(self, event: Outgoing, wait_s: float | None) -> None:
        """Take `event`; with `wait_s`, wait up to that many seconds for room.

        Raises `EmitterClosed`, `OutboxFull` or `SpoolUnavailable`; then it is not taken.
        """
        with self._lock:
            if wait_s is not None and not self._outbox.has_room_for(event):
                self._changed.wait_for(
                    lambda: self._refusal is not None or self._outbox.has_room_for(event), wait_s
                )
            # Only now: the emitter may have been closed while this thread waited.
            if self._refusal is not None:
                raise EmitterClosed(self._refusal)
            self._outbox.add(event)
            must_wake = self._link_sleeps and self._outbox.has_work
            if must_wake:
                # One call is enough: the next `emit` need not pay for another.
                self._link_sleeps = False
        if must_wake:
            self.wake_up.send()

    def wait_acknowledged(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all events taken before this call are acknowledged."""
        with self._lock:
            outbox = self._outbox
            last, renumberings = outbox.last, outbox.renumberings

            def is_acknowledged() -> bool:
                nonlocal last, renumberings
                if outbox.renumberings != renumberings:
                    # The number waited for may be another event's now; wait for all there are.
                    last, renumberings = outbox.last, outbox.renumberings
                return outbox.acknowledged >= last

            self._changed.wait_for(lambda: self._refusal is not None or is_acknowledged(), timeout)
            return is_acknowledged()

    def is_watched(self, topic: str) -> bool:
        """Whether somebody is subscribed to the live topic `topic`. Takes no lock."""
        return self._dialogue.subscriptions.is_watched(topic)

    def counters(self) -> dict[str, int]:
        """Return the counters, by the names of protocol section 9."""
        with self._lock:
            return self._outbox.counters()

    def unacknowledged(self) -> int:
        """Return the number of unacknowledged events."""
        with self._lock:
            return len(self._outbox)

    def refuse(self, reason: str) -> None:
        """Take no event any more. The first reason is the one that `add` names."""
        with self._lock:
            self._refusal = self._refusal or reason
            self._changed.notify_all()

    def close_store(self) -> None:
        """Close the spool, if there is one. For when the link thread has ended."""
        with self._lock:
            self._outbox.close()

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
    def is_fenced(self) -> bool:
        """Whether a newer process has the name. The link thread alone changes it."""
        return self._dialogue.is_fenced

    def prepare_to_sleep(self, now: float, may_send: bool) -> float:
        """Return when the link thread has to act again; until then `add` wakes it up if need be.

        That is `now` when events can be sent. Without `may_send` the socket takes none at present.
        """
        with self._lock:
            if self._dialogue.is_open:
                if may_send and self._outbox.has_work:
                    return now
                # In the same critical section as the look: an event added next must find it set.
                self._link_sleeps = True
            return self._dialogue.due_at(now)

    def on_subscriptions(self, frames: Sequence[bytes]) -> None:
        """Take the frames that the data socket received."""
        with self._lock:
            for frame in frames:
                self._dialogue.on_subscription(frame)
            # Values that nobody watched may be wanted now.
            self._outbox.live.interest_changed()

    def on_notices(self, notices: Sequence[Notice], now: float) -> None:
        """Take acknowledgements and requests to send again."""
        with self._lock:
            for notice in notices:
                self._dialogue.on_notice(notice, now)
            self._changed.notify_all()

    def take_hello(self, now: float) -> int | None:
        """Return the `acknowledged` of a hello that is due, which counts as sent, or None."""
        with self._lock:
            if not self._dialogue.hello_is_due(now):
                return None
            self._dialogue.on_hello_sent(now)
            return self._outbox.acknowledged

    def on_hello_accepted(self, reply: HelloReply, now: float) -> None:
        """Go on where the relay is, by its reply to the latest hello.

        Raises `SpoolUnavailable`; see `Dialogue.on_hello_accepted`.
        """
        with self._lock:
            self._dialogue.on_hello_accepted(reply, now)
            self._changed.notify_all()

    def on_hello_refused(self, code: str, text: str) -> None:
        """Wait, or stop for good: the relay refused the latest hello."""
        with self._lock:
            self._dialogue.on_hello_refused(code, text)

    def take_live(self, max_values: int) -> list[Outgoing]:
        """Remove and return values to send, as far as somebody watches them."""
        with self._lock:
            self._link_sleeps = False
            live = self._outbox.live
            return live.take(self.is_watched, max_values) if live.has_unexamined else []

    def put_live_back(self, values: list[Outgoing]) -> None:
        """Undo `take_live` for values that the socket did not take."""
        with self._lock:
            self._outbox.live.put_back(values)

    def take_events(self, max_events: int, now: float) -> tuple[int, list[Outgoing]]:
        """Move events in flight; return the first one's sequence number and the events."""
        with self._lock:
            if not self._outbox.in_flight:
                self._dialogue.on_events_sent(now)
            return self._outbox.take_unsent(max_events)

    def put_events_back(self, count: int) -> None:
        """Undo `take_events` for the last `count` events, which the socket did not take."""
        with self._lock:
            self._outbox.put_back(count)

    def take_report(self, now: float) -> dict[str, int] | None:
        """Return the counters to report to the relay, which count as reported, or None."""
        with self._lock:
            return self._dialogue.report_to_send(now)

    def take_last_report(self, now: float) -> dict[str, int] | None:
        """Give up the live values that wait; return the counters unless they were reported."""
        with self._lock:
            self._outbox.live.give_up()
            return self._dialogue.report_to_send(now, at_once=True)

    def is_drained(self) -> bool:
        """Whether everything is acknowledged and every live value was looked at."""
        with self._lock:
            return not (len(self._outbox) or self._outbox.live.has_unexamined)
