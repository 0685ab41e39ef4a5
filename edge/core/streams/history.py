"""`History`: the recent records of a stream, for resuming clients (protocol section 6).

Records are kept in pages of 256 offsets. A page holds one contiguous run of records; the records
that it lacks are requested from the relay when a client needs them. When all histories together
exceed their memory, the pages that were not used for the longest time are forgotten first.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from edge.core.streams.record import Record

PAGE_OFFSETS = 256
READ_PAGES = 4
"""Pages that one request to the relay may bring: a client that missed much waits less often for an
answer."""


class Missing(NamedTuple):
    """A run of offsets to be requested from the relay."""

    after: int
    limit: int


def read_index(position: int) -> int:
    """Return the number of the aligned range of `READ_PAGES` pages with the record after it."""
    return position // (PAGE_OFFSETS * READ_PAGES)


class Page:
    """A contiguous run of records within the offsets k·256+1 to (k+1)·256.

    The newest page grows at its end. Records that the relay replayed of its front are a page of
    their own until both touch.
    """

    __slots__ = ("cost", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.cost = 0
        """Memory in bytes."""


class PageMemory:
    """Bounds the memory of all histories together, the newest page of each included."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self._histories: list[History] = []
        self._pages: OrderedDict[tuple[History, int], None] = OrderedDict()
        """The least recently used page first; without the newest pages."""

    def add(self, history: "History") -> None:
        """Include `history`."""
        self._histories.append(history)

    def remove(self, history: "History") -> None:
        """Forget all records of `history`."""
        self._histories.remove(history)
        for key in [key for key in self._pages if key[0] is history]:
            del self._pages[key]
            self.used_bytes -= history.forget(key[1])
        self.used_bytes -= history.forget_newest()

    def touch(self, history: "History", index: int) -> None:
        """Make the page the most recently used one."""
        self._pages[history, index] = None
        self._pages.move_to_end((history, index))

    def drop(self, history: "History", index: int) -> None:
        """Forget the page, if there is one."""
        if (history, index) in self._pages:
            del self._pages[history, index]
            self.used_bytes -= history.forget(index)

    def make_room(self) -> None:
        """Forget old pages until the rest fits, then the older part of the newest pages."""
        while self.used_bytes > self.max_bytes and self._pages:
            (history, index), _ = self._pages.popitem(last=False)
            self.used_bytes -= history.forget(index)
        for history in self._histories:
            if self.used_bytes <= self.max_bytes:
                return
            self.used_bytes -= history.forget_newest(keep=1)


class History:
    """The remembered records of one stream."""

    __slots__ = ("_memory", "_newest", "_pages", "head", "journal_first")

    def __init__(self, memory: PageMemory, head: int, journal_first: int = 1) -> None:
        """Remember the records after `head`."""
        self.head = head
        """The newest offset at this edge: everything up to it was forwarded."""
        self.journal_first = journal_first
        """The first offset that the relay's journal is known to hold."""
        self._memory = memory
        self._pages: dict[int, Page] = {}
        self._newest = Page()
        memory.add(self)

    def append(self, record: Record) -> None:
        """Remember `record`, which follows `head`."""
        assert record.offset == self.head + 1, "history is contiguous"
        page, memory, cost = self._newest, self._memory, record.cost
        page.records.append(record)
        page.cost += cost
        memory.used_bytes += cost
        self.head = record.offset
        if record.offset % PAGE_OFFSETS == 0:
            self._turn_page(record.offset // PAGE_OFFSETS - 1)
        if memory.used_bytes > memory.max_bytes:
            memory.make_room()

    def skip_to(self, offset: int) -> None:
        """Continue with `offset` after `head`: the events between them are lost."""
        if self._newest.records:
            self._turn_page(self.head // PAGE_OFFSETS)
        self.head = offset - 1

    def raise_journal_first(self, first: int) -> None:
        """Take the first offset that the relay's journal holds; older news changes nothing."""
        self.journal_first = max(self.journal_first, first)

    def after(self, position: int) -> Sequence[Record] | None:
        """Return remembered records that follow `position`, at least one, up to a page's end.

        None if the next record is not remembered: see `missing`, unless it is beyond `head`.
        """
        index = position // PAGE_OFFSETS
        if index == self._newest_index and (found := _after(self._newest, position)):
            return found
        page = self._pages.get(index)
        found = None if page is None else _after(page, position)
        if found:
            self._memory.touch(self, index)
        return found

    def missing(self, position: int) -> Missing:
        """Return the offsets to request from the relay so that `after(position)` finds records.

        They lie within one range of `read_index`, before `head` and before what is remembered.
        """
        end = (read_index(position) + 1) * READ_PAGES
        ends = [end * PAGE_OFFSETS, self.head]
        for page in (*map(self._pages.get, range(position // PAGE_OFFSETS, end)), self._newest):
            if page is not None and page.records and page.records[0].offset > position + 1:
                ends.append(page.records[0].offset - 1)
        return Missing(position, max(1, min(ends) - position))

    def is_gone(self, position: int) -> bool:
        """Whether the record after `position` is neither remembered nor in the relay's journal."""
        return position + 1 < self.journal_first and self.after(position) is None

    def first_after(self, position: int) -> int:
        """Return the first offset after `position` that is remembered or in the relay's journal."""
        firsts = [page.records[0].offset for page in self._all_pages()]
        return min(
            (first for first in firsts if position < first < self.journal_first),
            default=self.journal_first,
        )

    def install(self, records: Sequence[Record]) -> None:
        """Remember `records`, a contiguous run that the relay replayed; ignore any after `head`."""
        for index, group in groupby(records, lambda record: (record.offset - 1) // PAGE_OFFSETS):
            run = [record for record in group if record.offset <= self.head]
            if run:
                self._install_page(index, run)
                if index == self._newest_index:
                    self._complete_newest()
        self._memory.make_room()

    def forget(self, index: int) -> int:
        """Forget a page and return its cost; called by the memory."""
        return self._pages.pop(index).cost

    def forget_newest(self, keep: int = 0) -> int:
        """Forget all but the last `keep` records of the newest page; return their cost."""
        page = self._newest
        count = max(0, len(page.records) - keep)
        freed = sum(record.cost for record in page.records[:count])
        # A new list, because a caller of `after` may still read the old one.
        page.records = page.records[count:]
        page.cost -= freed
        return freed

    @property
    def _newest_index(self) -> int:
        return self.head // PAGE_OFFSETS

    def _all_pages(self) -> list[Page]:
        return [page for page in (*self._pages.values(), self._newest) if page.records]

    def _turn_page(self, index: int) -> None:
        # The run that was replayed of this page's front does not touch the newest run, else
        # `_complete_newest` had joined them. One page keeps one run: the newer one.
        self._memory.drop(self, index)
        self._pages[index] = self._newest
        self._memory.touch(self, index)
        self._newest = Page()

    def _complete_newest(self) -> None:
        """Join the replayed front of the newest page with the rest, if they touch."""
        index, newest = self._newest_index, self._newest
        front = self._pages[index].records
        first = newest.records[0].offset if newest.records else self.head + 1
        if front[-1].offset >= first - 1:
            newest.records = [record for record in front if record.offset < first] + newest.records
            self._recount(newest)
            self._memory.drop(self, index)

    def _install_page(self, index: int, run: list[Record]) -> None:
        """Join `run` with the page's records, or replace them if they do not touch."""
        page = self._pages.setdefault(index, Page())
        present = page.records
        if present:
            first, last = present[0].offset, present[-1].offset
            if run[-1].offset >= first - 1 and run[0].offset <= last + 1:
                before = [record for record in run if record.offset < first]
                behind = [record for record in run if record.offset > last]
                # Present records win over equal ones: they may have their frame already.
                run = before + present + behind
        page.records = run
        self._recount(page)
        self._memory.touch(self, index)

    def _recount(self, page: Page) -> None:
        cost = sum(record.cost for record in page.records)
        self._memory.used_bytes += cost - page.cost
        page.cost = cost


def _after(page: Page, position: int) -> Sequence[Record] | None:
    records = page.records
    start = position + 1 - records[0].offset if records else -1
    return records[start:] if 0 <= start < len(records) else None
