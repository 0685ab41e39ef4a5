"""Which emitters there are, and how far the relay has come with the events of each.

A name is an identity: one live process at a time speaks for it, under an epoch of its own, and
numbers its events 1, 2, 3… The relay takes each number once and in order (protocol section 5).
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto
from typing import Any, Literal, NamedTuple

from relay.wire.header import Header


class Cursor(NamedTuple):
    """How far the journal has come with one emitter."""

    emitter_id: bytes
    name: str
    epoch: int
    sequence: int


class Verdict(Enum):
    """What to do with an event, judged by its header."""

    TAKE = auto()
    DUPLICATE = auto()
    """It was taken before."""
    OUT_OF_SEQUENCE = auto()
    """Something before it is missing; it will come again."""
    NOT_ADMITTED = auto()
    """Its emitter has not said hello, or was refused."""


class Refusal(Exception):  # noqa: N818
    """An emitter that may not speak; `code` is one of the error codes of `hello`."""

    def __init__(self, code: Literal["stale_epoch", "emitter_in_use"], text: str) -> None:
        super().__init__(text)
        self.code: Literal["stale_epoch", "emitter_in_use"] = code


class Emitter:
    """One emitter as the relay knows it."""

    def __init__(self, emitter_id: bytes, name: str, epoch: int, sequence: int) -> None:
        self.emitter_id = emitter_id
        self.name = name
        self.epoch = epoch
        self.sequence = sequence
        """Of the last event taken, in the journal or on its way there."""
        self.committed = sequence
        """Of the last event in the journal."""
        self.peer: bytes | None = None
        """Where it is reached on the control socket."""
        self.resend_asked_after = -1
        self.is_journaled = False
        """Whether the journal has a cursor of it."""
        self.taken = 0
        self.refused: dict[Verdict, int] = {
            verdict: 0 for verdict in Verdict if verdict is not Verdict.TAKE
        }
        self.reported: dict[str, int] = {}
        """Its own account."""

    def begin(self, epoch: int, sequence: int) -> None:
        """A new process, or a relay that does not remember this one."""
        self.epoch = epoch
        self.sequence = self.committed = sequence
        self.resend_asked_after = -1

    def as_dict(self) -> dict[str, Any]:
        """What `stats` shows of it."""
        return {
            "name": self.name,
            "epoch": self.epoch,
            "sequence": self.committed,
            "taken": self.taken,
            **{verdict.name.lower(): count for verdict, count in self.refused.items()},
            "reported": self.reported,
        }


class Emitters:
    """Admits emitters, judges their events, and knows what must be told to whom.

    What is taken counts only after `commit`; `roll_back` undoes it.
    """

    def __init__(self, cursors: Iterable[Cursor]) -> None:
        self._known = {cursor.emitter_id: Emitter(*cursor) for cursor in cursors}
        for emitter in self:
            emitter.is_journaled = True
        self._touched: set[Emitter] = set()
        """Those with something taken, or something to be told, since the last commit."""
        self._to_resend: list[Emitter] = []
        self.lost_by_rollback = 0
        """Events that were acknowledged and are not in the journal: a power cut took them."""

    def __iter__(self) -> Iterator[Emitter]:
        return iter(self._known.values())

    def get(self, emitter_id: bytes) -> Emitter | None:
        """The emitter with that id."""
        return self._known.get(emitter_id)

    def admit(
        self,
        cursor: Cursor,
        peer: bytes,
        is_connected: Callable[[Emitter], bool],
    ) -> int:
        """Let the emitter at `peer` speak, which knows `cursor.sequence` to be acknowledged.

        Returns the last sequence number that the journal has of its epoch. Raises `Refusal` when
        a newer process has spoken under this name, or another one still does.
        """
        emitter = self._known.get(cursor.emitter_id)
        if emitter is None:
            emitter = self._known[cursor.emitter_id] = Emitter(*cursor)
        elif cursor.epoch < emitter.epoch:
            raise Refusal("stale_epoch", f"a newer process has taken over the name {cursor.name!r}")
        elif cursor.epoch > emitter.epoch:
            if emitter.peer is not None and is_connected(emitter):
                raise Refusal(
                    "emitter_in_use", f"another live process has the name {cursor.name!r}"
                )
            emitter.begin(cursor.epoch, cursor.sequence)
        elif cursor.sequence > emitter.committed:
            self.lost_by_rollback += cursor.sequence - emitter.committed
            emitter.begin(cursor.epoch, cursor.sequence)
        emitter.peer = peer
        emitter.name = cursor.name
        emitter.resend_asked_after = -1
        return emitter.committed

    def judge(self, header: Header) -> Verdict:
        """Take the event with `header`, or say why not."""
        emitter = self._known.get(header.emitter_id)
        if emitter is None:
            return Verdict.NOT_ADMITTED
        if header.epoch != emitter.epoch:
            verdict = Verdict.NOT_ADMITTED
        elif header.sequence == emitter.sequence + 1:
            emitter.sequence += 1
            emitter.taken += 1
            self._touched.add(emitter)
            return Verdict.TAKE
        elif header.sequence <= emitter.sequence:
            verdict = Verdict.DUPLICATE
            self._touched.add(emitter)
        else:
            verdict = Verdict.OUT_OF_SEQUENCE
            if emitter.resend_asked_after != emitter.sequence:
                emitter.resend_asked_after = emitter.sequence
                self._to_resend.append(emitter)
        emitter.refused[verdict] += 1
        return verdict

    def cursors(self) -> list[Cursor]:
        """The cursors that the next commit moves."""
        return [
            Cursor(each.emitter_id, each.name, each.epoch, each.sequence)
            for each in self._touched
            if each.sequence != each.committed
        ]

    def commit(self) -> list[Emitter]:
        """What was taken is in the journal; return whom to tell."""
        told = list(self._touched)
        for emitter in told:
            emitter.is_journaled = emitter.is_journaled or emitter.sequence != emitter.committed
            emitter.committed = emitter.sequence
        self._touched.clear()
        return told

    def roll_back(self) -> None:
        """What was taken is not in the journal; it will have to come again."""
        for emitter in self._touched:
            emitter.taken -= emitter.sequence - emitter.committed
            emitter.sequence = emitter.committed
            emitter.resend_asked_after = -1
        self._touched.clear()

    def take_resend_requests(self) -> list[Emitter]:
        """Return those whose events after `sequence` are missing, each once."""
        missing, self._to_resend = self._to_resend, []
        return list(dict.fromkeys(missing))

    def forget(self, silent: Iterable[bytes], is_connected: Callable[[Emitter], bool]) -> None:
        """Drop the `silent`, which the journal has forgotten, and who came and went unjournaled."""
        for emitter_id in silent:
            if emitter_id in self._known:
                self._known[emitter_id].is_journaled = False
        for emitter in list(self):
            if not emitter.is_journaled and not is_connected(emitter):
                del self._known[emitter.emitter_id]
