"""The newest value of each live topic, until somebody watches it.

The caller provides the locking.
"""

from collections.abc import Callable, Collection

from emitters.core.outgoing import Outgoing

MAX_LIVE_TOPICS = 10_000


class LiveValues:
    """Holds at most `MAX_LIVE_TOPICS` values; the topic that was put first goes first.

    taken = sent + conflated + what waits (protocol section 9).
    """

    def __init__(self) -> None:
        self._new: dict[str, Outgoing] = {}
        self._unwatched: dict[str, Outgoing] = {}
        self.taken = 0
        """Values that `put` was given."""
        self.sent = 0
        self.conflated = 0
        """Values that were replaced by a newer one, or given up, unsent."""

    def __len__(self) -> int:
        return len(self._new) + len(self._unwatched)

    @property
    def has_new(self) -> bool:
        """Whether there are values that `take` has not looked at yet."""
        return bool(self._new)

    def put(self, event: Outgoing) -> None:
        """Take `event` in place of an earlier value of its topic."""
        self.taken += 1
        topic = event.topic.text
        if self._new.pop(topic, None) or self._unwatched.pop(topic, None):
            self.conflated += 1
        elif len(self) >= MAX_LIVE_TOPICS:
            oldest = self._unwatched or self._new
            del oldest[next(iter(oldest))]
            self.conflated += 1
        self._new[topic] = event

    def take(self, is_watched: Callable[[str], bool]) -> list[Outgoing]:
        """Remove and return the values of watched topics, which count as sent.

        Those that nobody watches are put aside, and looked at again after `interest_changed`.
        """
        taken = []
        for topic, event in self._new.items():
            if is_watched(topic):
                taken.append(event)
            else:
                self._unwatched[topic] = event
        self._new.clear()
        self.sent += len(taken)
        return taken

    def put_back(self, values: list[Outgoing]) -> None:
        """Undo `take` for `values`, except where a newer value has come since."""
        self.sent -= len(values)
        for event in values:
            topic = event.topic.text
            is_superseded = topic in self._new or topic in self._unwatched
            if is_superseded or len(self) >= MAX_LIVE_TOPICS:
                self.conflated += 1
            else:
                self._new[topic] = event

    def interest_changed(self) -> None:
        """Somebody began or ceased to watch: `take` considers every value again."""
        self._new = self._unwatched | self._new
        self._unwatched = {}

    def of_kinds(self, kinds: Collection[str]) -> list[Outgoing]:
        """The values of topics of `kinds`, in the order they came."""
        waiting = (*self._unwatched.values(), *self._new.values())
        return [event for event in waiting if event.topic.kind in kinds]

    def hand_over(self, event: Outgoing) -> None:
        """Forget `event`, which was found by `of_kinds` and is no live value any more."""
        self._new.pop(event.topic.text, None)
        self._unwatched.pop(event.topic.text, None)
        self.taken -= 1

    def give_up(self) -> None:
        """Nobody will be sent what waits."""
        self.conflated += len(self)
        self._new.clear()
        self._unwatched.clear()
