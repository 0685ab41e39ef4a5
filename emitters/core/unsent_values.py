"""The newest unsent value of each live topic.

A value waits until somebody watches its topic, or until a newer value replaces it. Once it is sent
it is kept for the next relay, as far as there is room (`emitters.core.sent_values`).
"""

from collections.abc import Callable, Collection

from emitters.core.outgoing import Outgoing
from emitters.core.sent_values import SentValues
from relay.shared.newest import Newest

MAX_LIVE_TOPICS = 10_000
MAX_LIVE_BYTES = 32 * 1024 * 1024
"""Bounds the sum of the envelopes that wait or were sent."""


class UnsentValues:
    """Holds `MAX_LIVE_TOPICS` values and `MAX_LIVE_BYTES` at most.

    When it is full, the value that was put first is given up and counts as conflated. Therefore
    put = sent + conflated + waiting, at any time (protocol section 9).
    """

    def __init__(self) -> None:
        self._values: Newest[str, Outgoing] = _no_values()
        self._unexamined: dict[str, None] = {}
        """Topics of values that `take` has to look at, as an ordered set."""
        self._sent_values = SentValues(MAX_LIVE_TOPICS, MAX_LIVE_BYTES)
        self._sent_again: set[str] = set()
        """Topics of the values that the last `take` returned for the second time."""
        self.put_count = 0
        self.sent = 0
        self.conflated = 0
        """Values that were replaced by a newer one, or given up, before they were sent."""

    def __len__(self) -> int:
        return len(self._values)

    @property
    def has_unexamined(self) -> bool:
        """Whether `take` has values to look at."""
        return bool(self._unexamined) or self._sent_values.has_unexamined

    @property
    def has_unexamined_unsent(self) -> bool:
        """Whether `take` has values to look at that were never sent."""
        return bool(self._unexamined)

    def put(self, event: Outgoing) -> None:
        """Keep `event` in place of an earlier value of its topic."""
        self.put_count += 1
        topic = event.topic.text
        if topic in self._values:
            self.conflated += 1
        # Popped first, so that a newer value moves to the end here as it does in `keep`.
        self._unexamined.pop(topic, None)
        self._unexamined[topic] = None
        self._sent_values.forget(topic)
        for given_up in self._values.keep(topic, event):
            self._unexamined.pop(given_up, None)
            self.conflated += 1
        self._sent_values.leave_room(len(self._values), self._values.total_bytes)

    def take(self, is_watched: Callable[[str], bool], max_values: int) -> list[Outgoing]:
        """Remove and return up to `max_values` values of watched topics; they count as sent.

        Behind them come values to be sent again, which counted before. The values of other topics
        stay, and are not looked at again before `interest_changed`.
        """
        taken: list[Outgoing] = []
        examined: list[str] = []
        for topic in self._unexamined:
            if len(taken) == max_values:
                break
            examined.append(topic)
            if is_watched(topic) and (event := self._values.get(topic)) is not None:
                self._values.forget(topic)
                taken.append(event)
        for topic in examined:
            del self._unexamined[topic]
        self.sent += len(taken)
        for event in taken:
            self._sent_values.keep(event)
        again = self._sent_values.take(is_watched, max_values - len(taken))
        self._sent_again = {event.topic.text for event in again}
        return taken + again

    def is_sent_again(self, event: Outgoing) -> bool:
        """Whether `event`, one of those that the last `take` returned, was sent before."""
        return event.topic.text in self._sent_again

    def put_back(self, events: list[Outgoing]) -> None:
        """Undo `take` for `events`, except where a newer value has come since."""
        for event in events:
            if event.topic.text in self._sent_again:
                self._sent_values.put_back(event.topic.text)
            else:
                self._sent_values.forget(event.topic.text)
        events = [event for event in events if event.topic.text not in self._sent_again]
        self.sent -= len(events)
        newer = dict(self._values.items())
        older = {event.topic.text: event for event in events if event.topic.text not in newer}
        self.conflated += len(events) - len(older)
        self._values = _no_values()
        # The older ones first: when it is full, they are given up for those that came meanwhile.
        for topic, event in (older | newer).items():
            self.conflated += len(self._values.keep(topic, event))
        unexamined = (topic for topic in (*older, *self._unexamined) if topic in self._values)
        self._unexamined = dict.fromkeys(unexamined)

    def interest_changed(self) -> None:
        """Have `take` look at every value again: somebody began or ceased to watch."""
        self._unexamined = dict.fromkeys(topic for topic, _ in self._values.items())
        self._sent_values.interest_changed()

    def connection_lost(self) -> None:
        """Have `take` return the values that were sent, too: the next relay does not have them."""
        self._sent_values.connection_lost()

    def of_kinds(self, kinds: Collection[str]) -> list[Outgoing]:
        """Return the values of topics of `kinds`, the one put first at the front."""
        return [event for _, event in self._values.items() if event.topic.kind in kinds]

    def withdraw(self, event: Outgoing) -> None:
        """Forget `event`, one of `of_kinds`, as if it had never been put."""
        self._values.forget(event.topic.text)
        self._unexamined.pop(event.topic.text, None)
        self.put_count -= 1

    def forget_sent(self, kinds: Collection[str]) -> None:
        """Have no sent value of a topic of `kinds` sent again: their relay numbers them."""
        self._sent_values.forget_kinds(kinds)

    def give_up(self) -> None:
        """Give up every value that waits; they count as conflated."""
        self.conflated += len(self._values)
        self._values, self._unexamined = _no_values(), {}
        self._sent_values.clear()


def _no_values() -> Newest[str, Outgoing]:
    return Newest(MAX_LIVE_TOPICS, MAX_LIVE_BYTES, _envelope_bytes)


def _envelope_bytes(event: Outgoing) -> int:
    return len(event.envelope)
