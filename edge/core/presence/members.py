"""`OwnMembers`: the users at the topics of this worker, in buckets for the other workers."""

from collections.abc import Iterable
from zlib import crc32

from edge.core.presence.values import BUCKETS, Members, Seat
from edge.core.presence.view import PresenceView

MAX_BUCKET_BYTES = 384 * 1024
"""Of the members of a bucket, as `_size` counts: far below an envelope's limit, and all buckets
together below an emitter's for live values."""
SEAT_BYTES = 32
"""Of one seat beside topic and name, rounded up."""


class _Bucket:
    __slots__ = ("listed", "size_bytes", "unlisted", "version")

    def __init__(self) -> None:
        self.listed: Members = {}
        self.unlisted: Members = {}
        """Those for whom there is no room."""
        self.size_bytes = 0
        self.version = 0
        """How often `listed` was published, 0 before the first time."""


class OwnMembers:
    """Counts connections by topic and user, and puts the listed users into `view` at once."""

    def __init__(self, worker: str, view: PresenceView) -> None:
        self._worker = worker
        self._view = view
        self._buckets = [_Bucket() for _ in range(BUCKETS)]
        self._changed: dict[int, None] = {}
        """Buckets of which the others do not know the members yet, in the order of change."""
        self._again = 0
        """The bucket to be published again next."""

    @property
    def listed(self) -> int:
        """The number of seats that are shown."""
        return sum(len(each.listed) for each in self._buckets)

    @property
    def unlisted(self) -> int:
        """The number of seats that are not shown, because their bucket is full."""
        return sum(len(each.unlisted) for each in self._buckets)

    @property
    def versions(self) -> dict[int, int]:
        """The version of each published bucket that has members."""
        return {
            number: each.version
            for number, each in enumerate(self._buckets)
            if each.listed and each.version
        }

    def join(self, topic: str, username: str, now_ms: int) -> None:
        """A connection of the user has subscribed to `topic`. `now_ms` is Unix time."""
        key = topic, username
        number = _bucket_of(key)
        bucket = self._buckets[number]
        for members in (bucket.listed, bucket.unlisted):
            if (seat := members.get(key)) is not None:
                members[key] = Seat(seat.since, seat.connections + 1)
                break
        else:
            has_room = bucket.size_bytes + _size(key) <= MAX_BUCKET_BYTES
            members = bucket.listed if has_room else bucket.unlisted
            members[key] = Seat(now_ms, 1)
            bucket.size_bytes += _size(key) if has_room else 0
        if members is bucket.listed:
            self._show(number, key)

    def leave(self, topic: str, username: str) -> None:
        """Undo one `join`."""
        key = topic, username
        number = _bucket_of(key)
        bucket = self._buckets[number]
        is_listed = key in bucket.listed
        members = bucket.listed if is_listed else bucket.unlisted
        since, connections = members.pop(key)
        if connections > 1:
            members[key] = Seat(since, connections - 1)
        elif is_listed:
            bucket.size_bytes -= _size(key)
        if is_listed:
            self._show(number, key)
            self._list_more(number)

    def take_changed(self) -> Iterable[tuple[int, int, Members]]:
        """Yield number, new version and members of each bucket that is to be published."""
        changed, self._changed = self._changed, {}
        for number in changed:
            bucket = self._buckets[number]
            bucket.version += 1
            yield number, bucket.version, bucket.listed

    def next_again(self) -> tuple[int, int, Members] | None:
        """Return another bucket with members each time, to be published again as it is.

        So the relay does not forget the bucket as one that was updated long ago.
        """
        for _ in range(BUCKETS):
            self._again = (self._again + 1) % BUCKETS
            bucket = self._buckets[self._again]
            if bucket.listed and bucket.version and self._again not in self._changed:
                return self._again, bucket.version, bucket.listed
        return None

    def _show(self, number: int, key: tuple[str, str]) -> None:
        self._changed[number] = None
        self._view.put(self._worker, *key, self._buckets[number].listed.get(key))

    def _list_more(self, number: int) -> None:
        """List those for whom there is room now."""
        bucket = self._buckets[number]
        while bucket.unlisted:
            key, seat = next(iter(bucket.unlisted.items()))
            if bucket.size_bytes + _size(key) > MAX_BUCKET_BYTES:
                return
            del bucket.unlisted[key]
            bucket.listed[key] = seat
            bucket.size_bytes += _size(key)
            self._show(number, key)


def members_bytes(members: Members) -> int:
    """Return about the bytes that `members` take when they are published."""
    return sum(map(_size, members))


def _bucket_of(key: tuple[str, str]) -> int:
    # By user as well: a single topic may have more members than a message may hold.
    return crc32("\0".join(key).encode()) % BUCKETS


def _size(key: tuple[str, str]) -> int:
    return SEAT_BYTES + sum(len(part.encode()) for part in key)
