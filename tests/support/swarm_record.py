"""The events that one client of the swarm received over all connections, and its resume requests.

It has no sockets: it takes messages and returns the requests that resume (protocol section 7).
It records all messages in the order of arrival and does not judge them.
"""

from array import array
from collections import Counter, defaultdict
from typing import Any
from urllib.parse import urlencode

Message = dict[str, Any]

PERSONAL_STREAMS = ("task", "addressed")
"""The streams whose events reach their user without a subscription."""
_RUN_SHIFT = 40


def payload_key(run: int, number: int) -> int:
    """Return one integer that identifies the event with the payload `{"run": …, "n": …}`."""
    return run << _RUN_SHIFT | number


def split_key(key: int) -> tuple[int, int]:
    """Return run and number of a `payload_key`."""
    return key >> _RUN_SHIFT, key & (1 << _RUN_SHIFT) - 1


class StreamRecord:
    """The events of one stream in the order of their arrival."""

    __slots__ = ("keys", "offsets")

    def __init__(self) -> None:
        self.offsets = array("Q")
        self.keys = array("Q")
        """`payload_key` of each."""

    def __len__(self) -> int:
        return len(self.offsets)


class Record:
    """The memory of one client.

    `personal_position` is the offset after which the client wants the events of each personal
    stream; without one it has no place in them until the edge tells it.
    """

    def __init__(self, patterns: tuple[str, ...], personal_position: int | None = None) -> None:
        self.patterns = patterns
        self.epoch: int | None = None
        self.epochs: set[int] = set()
        """All epochs that an edge sent; more than one means that positions were lost."""
        self.streams: defaultdict[str, StreamRecord] = defaultdict(StreamRecord)
        self.positions: dict[str, int] = {}
        """Stream to the offset up to which the client is complete."""
        self.starts: dict[str, dict[str, int]] = {}
        """Pattern to stream to the offset after which the first subscription began."""
        self.personal_starts: dict[str, int] = {}
        """Personal stream to the offset after which the client gets its user's events."""
        self.recovered: Counter[bool] = Counter()
        self.gaps: list[Message] = []
        self.retained = 0
        """The number of retained states received on connect; they are not events."""
        self.errors: list[str] = []
        """Messages that break the protocol."""
        self.replies = 0
        """The number of answered subscriptions on this connection."""
        self._since: dict[str, int] = {}
        if personal_position is not None:
            self.personal_starts = dict.fromkeys(PERSONAL_STREAMS, personal_position)
            self.positions |= self.personal_starts

    def __len__(self) -> int:
        return sum(len(stream) for stream in self.streams.values())

    @property
    def is_settled(self) -> bool:
        """Whether each subscription of this connection has its reply."""
        return self.replies == len(self.patterns)

    @property
    def follows(self) -> set[str]:
        """The streams of its subscriptions, and the personal streams."""
        return set(PERSONAL_STREAMS).union(*self.starts.values())

    def query(self) -> str:
        """Return the part of the handshake's query that resumes the personal streams.

        It is empty without a position in them.
        """
        known = {name: self.positions[name] for name in PERSONAL_STREAMS if name in self.positions}
        if self.epoch is None or not known:
            return ""
        return "&" + urlencode({"epoch": self.epoch, **known})

    def begin_connection(self) -> list[Message]:
        """Return the requests for a new connection; together they are one catch-up."""
        self.replies = 0
        self._since = dict(self.positions) if self.epoch is not None else {}
        requests: list[Message] = [
            {"action": "subscribe", "topic": pattern, "id": number}
            for number, pattern in enumerate(self.patterns)
        ]
        if self._since:
            for request in requests:
                request |= {"since": self._since, "epoch": self.epoch, "more": True}
            if requests:
                del requests[-1]["more"]
        return requests

    def take(self, message: Message) -> None:
        """Record one message of the edge."""
        offset = message.get("offset")
        if offset is None:
            self._take_notice(message)
            return
        if "retained" in message:
            self.retained += 1
            return
        topic: str = message["topic"]
        stream: str = message.get("stream") or topic[: topic.index(":")]
        data = message["data"]
        taken = self.streams[stream]
        taken.offsets.append(offset)
        taken.keys.append(data["run"] << _RUN_SHIFT | data["n"])
        self.positions[stream] = offset

    def _take_notice(self, message: Message) -> None:
        status = message.get("status")
        if status == "success":
            self._take_reply(message)
        elif status is not None:
            self.errors.append(f"error reply {message}")
        elif message.get("type") == "position":
            self._take_epoch(message["epoch"])
            self._begin_personal(message["position"])
            self._move(message["position"])
        elif message.get("type") == "gap":
            self.gaps.append(message)

    def _take_reply(self, message: Message) -> None:
        pattern = self.patterns[message["id"]]
        self.replies += 1
        self._take_epoch(message["epoch"])
        position: dict[str, int] = message["position"]
        if "recovered" in message:
            self.recovered[message["recovered"]] += 1
        elif self._since:
            self.errors.append(f"the reply to a resume does not say `recovered`: {message}")
        self.starts.setdefault(
            pattern,
            {stream: self._since.get(stream, offset) for stream, offset in position.items()},
        )
        self._move(position)

    def _take_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.epochs.add(epoch)

    def _begin_personal(self, position: dict[str, int]) -> None:
        for stream in PERSONAL_STREAMS:
            if stream in position:
                self.personal_starts.setdefault(stream, position[stream])

    def _move(self, position: dict[str, int]) -> None:
        for stream, offset in position.items():
            known = self.positions.get(stream, 0)
            if offset < known:
                self.errors.append(f"{stream}: told position {offset} after {known}")
            else:
                self.positions[stream] = offset
