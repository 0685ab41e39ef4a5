"""`OnceIds`: the ids of events that are taken once (protocol section 3).

An id counts as taken when its event is committed. Until then it is pending: a second event with it
is refused, and if the journal cannot be written, both are forgotten and may come again.
"""

from collections import OrderedDict
from collections.abc import Iterable

from relay.wire.once import once_digest

REMEMBERED_S = 24 * 3600
MAX_IDS = 100_000
"""Beyond either limit the id that was taken first is forgotten."""


class OnceIds:
    """Bounded by `MAX_IDS`, and by a batch for each flight. Times are Unix time in seconds."""

    def __init__(self, known: Iterable[tuple[bytes, int]] = ()) -> None:
        """`known` are the digests in the journal and when each was taken, oldest first."""
        self._known = OrderedDict(known)
        self._gathered: list[bytes] = []
        """Of events that wait for the next batch."""
        self._pending: set[bytes] = set()
        """Of events that are not committed, gathered ones included."""

    def __len__(self) -> int:
        return len(self._known) + len(self._pending)

    def take(self, event_id: str, now_s: int) -> bool:
        """Return whether an event of a stream may be taken, which is then pending."""
        digest = once_digest(event_id)
        if digest in self._pending or self._is_known(digest, now_s):
            return False
        self._pending.add(digest)
        self._gathered.append(digest)
        return True

    def take_live(self, event_id: str, now_s: int, *, is_again: bool) -> bool:
        """The same for a live value, which waits for no commit and is forgotten with the process.

        With `is_again` its emitter does not know whether the relay has it: it is taken in any case.
        """
        digest = once_digest(event_id)
        is_new = not self._is_known(digest, now_s)
        if is_new:
            # Repeats do not count: the id is remembered from the first one on.
            self._keep(digest, now_s)
        return is_new or is_again

    def take_gathered(self) -> list[bytes]:
        """Return the digests of the next batch."""
        gathered, self._gathered = self._gathered, []
        return gathered

    def commit(self, digests: Iterable[bytes], now_s: int) -> None:
        """The events of a batch are in the journal."""
        for digest in digests:
            self._pending.discard(digest)
            self._keep(digest, now_s)

    def roll_back(self) -> None:
        """Nothing that is pending has come into the journal."""
        self._pending.clear()
        self._gathered.clear()

    def _is_known(self, digest: bytes, now_s: int) -> bool:
        taken_at = self._known.get(digest)
        return taken_at is not None and taken_at > now_s - REMEMBERED_S

    def _keep(self, digest: bytes, now_s: int) -> None:
        self._known[digest] = now_s
        self._known.move_to_end(digest)
        if len(self._known) > MAX_IDS:
            self._known.popitem(last=False)
