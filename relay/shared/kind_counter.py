"""`KindCounter`: counts by kind of topic, under a bounded number of names."""

from collections import Counter
from collections.abc import Iterable

MAX_OTHER_KINDS = 256
"""Kinds that nobody has listed and that are counted by name. Publishers choose the names of live
kinds, so that without a limit one of them could fill the memory, and every page of metrics."""
OTHER_KINDS = "other"
"""The name under which further kinds are counted together."""


class KindCounter(Counter[str]):
    """A `Counter` in which unlisted kinds beyond the first `MAX_OTHER_KINDS` share a name."""

    def __init__(self) -> None:
        super().__init__()
        self._listed: set[str] = {OTHER_KINDS}
        self._unlisted = 0

    def list_kinds(self, kinds: Iterable[str]) -> None:
        """Count each of `kinds` by its name, however many others there are."""
        self._listed.update(kinds)

    def __setitem__(self, kind: str, count: int) -> None:
        """Set the count of `kind`; that of one without a name is added to the others."""
        if kind not in self and kind not in self._listed:
            if self._unlisted >= MAX_OTHER_KINDS:
                kind, count = OTHER_KINDS, self[OTHER_KINDS] + count
            else:
                self._unlisted += 1
        super().__setitem__(kind, count)
