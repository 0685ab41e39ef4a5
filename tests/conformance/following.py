"""The state of a client that speaks the protocol itself: the reference of a resume."""

from typing import Any

from edge.client.core.subscriptions import topic_matches
from tests.conformance.told import PERSONAL, Heard, Lost, NewEpoch, Told

Message = dict[str, Any]


class Following:
    """The position of one client, and the meaning of its messages (protocol section 7, "Resume").

    It drops nothing: an event that the edge sends twice is reported twice.
    """

    def __init__(self, patterns: tuple[str, ...], told: list[Told]) -> None:
        self.epoch: int | None = None
        self.position: dict[str, int] = {}
        self._patterns = patterns
        self._told = told

    def take(self, message: Message) -> None:
        """Report what a message tells."""
        if message.get("type") == "gap":
            self._told.append(Lost(message["stream"], message["from"], message["to"]))
            self._move(message["stream"], message["to"])
        elif "epoch" in message:
            self._adopt(message["epoch"], message["position"])
        elif "topic" in message and "type" in message:
            self._event(message)

    def _event(self, message: Message) -> None:
        topic, offset = message["topic"], message.get("offset")
        stream = message.get("stream") or topic.partition(":")[0]
        is_retained = message.get("retained") is True
        if offset is not None and not is_retained:
            self._move(stream, offset)
        named = [PERSONAL[stream]] if stream in PERSONAL else []
        matching = [each for each in self._patterns if topic_matches(each, topic)]
        for via in named + matching:
            self._told.append(Heard(via, topic, message["data"]["n"], offset, is_retained))

    def _adopt(self, epoch: int, position: dict[str, int]) -> None:
        if self.epoch not in (None, epoch):
            self._told.append(NewEpoch())
            self.position.clear()
        self.epoch = epoch
        for stream, offset in position.items():
            self._move(stream, offset)

    def _move(self, stream: str, offset: int) -> None:
        self.position[stream] = max(offset, self.position.get(stream, 0))
