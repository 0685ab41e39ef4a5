"""The newest sent value of each live topic, which may have to be sent again.

Nobody acknowledges a live value. One that was on its way to a relay when that was killed is lost,
and the next relay remembers none. So each connection is sent the newest value of a topic once: at
once if somebody watches the topic, otherwise when somebody begins to.
"""

from collections.abc import Callable, Collection

from emitters.core.outgoing import Outgoing
from relay.shared.newest import Newest


class SentValues:
    """Takes the room that unsent values leave of `max_topics` and `max_bytes`.

    The value that was sent first is forgotten first.
    """

    def __init__(self, max_topics: int, max_bytes: int) -> None:
        self._max_topics = max_topics
        self._max_bytes = max_bytes
        self._values: Newest[str, Outgoing] = Newest(
            max_topics, max_bytes, lambda event: len(event.envelope)
        )
        self._lost: dict[str, None] = {}
        """Topics whose value the present relay was not sent, as an ordered set."""
        self._unexamined: dict[str, None] = {}
        """Those of them that `take` has to look at."""

    def __len__(self) -> int:
        return len(self._values)

    @property
    def has_unexamined(self) -> bool:
        """Whether `take` has values to look at."""
        return bool(self._unexamined)

    def keep(self, event: Outgoing) -> None:
        """Note that `event` was sent."""
        topic = event.topic.text
        self._mark_sent(topic)
        for dropped in self._values.keep(topic, event):
            self._mark_sent(dropped)

    def forget(self, topic: str) -> None:
        """Forget the value of `topic`: there is a newer one, or no room."""
        self._values.forget(topic)
        self._mark_sent(topic)

    def forget_kinds(self, kinds: Collection[str]) -> None:
        """Forget the values of topics of `kinds`, which are not live any more."""
        for topic, event in list(self._values.items()):
            if event.topic.kind in kinds:
                self.forget(topic)

    def leave_room(self, topics: int, total_bytes: int) -> None:
        """Forget values until `topics` others of `total_bytes` have room beside the rest."""
        values = self._values
        while len(values) and (
            len(values) + topics > self._max_topics
            or values.total_bytes + total_bytes > self._max_bytes
        ):
            self.forget(next(iter(values.items()))[0])

    def connection_lost(self) -> None:
        """Have every value sent to the next relay as well."""
        self._lost = dict.fromkeys(topic for topic, _ in self._values.items())
        self.interest_changed()

    def interest_changed(self) -> None:
        """Have `take` look again at the values that the present relay was not sent."""
        self._unexamined = dict(self._lost)

    def take(self, is_watched: Callable[[str], bool], max_values: int) -> list[Outgoing]:
        """Return up to `max_values` values of watched topics to be sent again."""
        taken: list[Outgoing] = []
        for topic in list(self._unexamined):
            if len(taken) == max_values:
                break
            del self._unexamined[topic]
            if is_watched(topic) and (event := self._values.get(topic)) is not None:
                del self._lost[topic]
                taken.append(event)
        return taken

    def put_back(self, topic: str) -> None:
        """Undo `take` for the value of `topic`."""
        if topic in self._values:
            self._lost[topic] = self._unexamined[topic] = None

    def clear(self) -> None:
        """Forget every value."""
        for topic, _ in list(self._values.items()):
            self.forget(topic)

    def _mark_sent(self, topic: str) -> None:
        self._lost.pop(topic, None)
        self._unexamined.pop(topic, None)
