"""`LastValueRequests`: the retained values that clients wait for, and whose turn it is (section 4).

A new subscriber of a live topic is shown its last value, which the relay retained. A prefix may
bring thousands of them, so they come in pages. One page is requested at a time, so that a replay
never waits for more than one. Users take turns, page by page, and a request that nobody waits for
any more is forgotten.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from relay.wire.topics import Pattern


def _always(_: str) -> bool:
    return True


class RetainedPage(NamedTuple):
    """The retained values that `selector` matches and that sort after `after`."""

    selector: Pattern
    after: bytes | None


class LastValueRequests:
    """Selectors whose retained values are wanted, each once, and the page that is under way.

    Bounded by the selectors that clients are subscribed to: see `SubscriptionQuota`.
    """

    def __init__(self) -> None:
        self._users: OrderedDict[str, OrderedDict[Pattern, bytes | None]] = OrderedDict()
        """By user, in the order of their turns: selectors, each with its next page's `after`."""
        self._user_of: dict[Pattern, str] = {}
        self._under_way: RetainedPage | None = None
        self._under_way_for = ""
        """The user whose turn it was."""
        self._is_wanted = False
        """Whether somebody still waits for the pages that follow the one under way."""

    def __len__(self) -> int:
        """The number of selectors that wait for a page, without the one under way."""
        return len(self._user_of)

    def want(self, selector: Pattern, username: str) -> None:
        """Request the values of `selector` when it is the turn of `username`.

        A selector that waits already is not added again.
        """
        if selector not in self._user_of:
            self._queue(selector, username, None)

    def forget(self, selector: Pattern) -> None:
        """Nobody wants the values of `selector` any more. Unknown ones are ignored."""
        if self._under_way is not None and self._under_way.selector == selector:
            self._is_wanted = False
        username = self._user_of.pop(selector, None)
        if username is not None:
            del self._users[username][selector]
            self._remove_if_empty(username)

    @property
    def under_way_for(self) -> str:
        """The user for whom the last page was requested."""
        return self._under_way_for

    def begin_page(self, may_ask: Callable[[str], bool] = _always) -> RetainedPage | None:
        """Return the page to request now, None if one is under way or nothing is wanted.

        `may_ask` says whether a user's turn may come now.
        """
        if self._under_way is not None:
            return None
        username = next(filter(may_ask, self._users), None)
        if username is None:
            return None
        selectors = self._users[username]
        selector, after = selectors.popitem(last=False)
        del self._user_of[selector]
        self._under_way, self._is_wanted = RetainedPage(selector, after), True
        self._under_way_for = username
        self._remove_if_empty(username)
        return self._under_way

    def end_page(self, following: bytes | None) -> None:
        """The page has come; `following` is the `after` of the next one, None if it was the last.

        The next page has its turn when the other users have had theirs.
        """
        page, self._under_way = self._under_way, None
        assert page is not None, "a page was requested"
        if following is not None and self._is_wanted and page.selector not in self._user_of:
            self._queue(page.selector, self._under_way_for, following, is_next=True)
        if self._under_way_for in self._users:
            # Behind those that came meanwhile.
            self._users.move_to_end(self._under_way_for)

    def lose_page(self) -> None:
        """The page will not come: request it again, if it is still wanted."""
        page, self._under_way = self._under_way, None
        if page is not None and self._is_wanted and page.selector not in self._user_of:
            self._queue(page.selector, self._under_way_for, page.after, is_next=True)
            self._users.move_to_end(self._under_way_for, last=False)

    def _queue(
        self, selector: Pattern, username: str, after: bytes | None, *, is_next: bool = False
    ) -> None:
        """Queue a page for `username`; with `is_next` before the other selectors of that user."""
        self._user_of[selector] = username
        selectors = self._users.setdefault(username, OrderedDict())
        selectors[selector] = after
        if is_next:
            selectors.move_to_end(selector, last=False)

    def _remove_if_empty(self, username: str) -> None:
        if not self._users[username]:
            del self._users[username]
