"""`CallQueue`: calls that wait for a thread; users take turns."""

from collections import OrderedDict, deque
from typing import NamedTuple

from relay.wire.calls import CallNotice

MAX_WAITING_CALLS = 1_000
"""Calls of all users; a further one is refused."""
MAX_WAITING_CALLS_PER_USER = 250


class _Waiting(NamedTuple):
    notice: CallNotice
    give_up_at: float


class CallQueue:
    """The calls of each user in their order. `now` is in seconds on a monotonic clock."""

    def __init__(self) -> None:
        self._by_user: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        """The user whose turn it is first. None has no call."""
        self._count = 0

    def put(self, notice: CallNotice, now: float) -> bool:
        """Let a call wait, for as long as its client does; return whether there was room."""
        if not self._has_room(notice.username):
            self._drop_late(now)
        if not self._has_room(notice.username):
            return False
        calls = self._by_user.setdefault(notice.username, deque())
        calls.append(_Waiting(notice, now + notice.timeout_s))
        self._count += 1
        return True

    def take(self, now: float) -> CallNotice | None:
        """Return the next call of the user whose turn it is, None if nobody waits any more."""
        while self._by_user:
            username, calls = self._by_user.popitem(last=False)
            waiting = calls.popleft()
            self._count -= 1
            if calls:
                self._by_user[username] = calls
            if waiting.give_up_at > now:
                return waiting.notice
        return None

    def take_all(self) -> list[CallNotice]:
        """Return all calls: they will not be run."""
        taken = [each.notice for calls in self._by_user.values() for each in calls]
        self._by_user.clear()
        self._count = 0
        return taken

    def _has_room(self, username: str) -> bool:
        calls = self._by_user.get(username, ())
        return self._count < MAX_WAITING_CALLS and len(calls) < MAX_WAITING_CALLS_PER_USER

    def _drop_late(self, now: float) -> None:
        """Drop the calls whose clients wait no longer."""
        for username, calls in tuple(self._by_user.items()):
            left = deque(each for each in calls if each.give_up_at > now)
            self._count -= len(calls) - len(left)
            if left:
                self._by_user[username] = left
            else:
                del self._by_user[username]
