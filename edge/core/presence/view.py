"""`PresenceView`: the users at each topic, and who has joined and left."""

from collections.abc import Iterator
from typing import NamedTuple

from edge.core.presence.values import Seat


class PresentUser(NamedTuple):
    """A user who is subscribed to a topic."""

    username: str
    since: int
    """Unix time in milliseconds: when the earliest of the connections subscribed."""
    connections: int
    """On all workers; 0 for a user who has left a moment ago, and may be about to come back."""


class PresenceCount(NamedTuple):
    """How many are at a topic."""

    users: int
    connections: int


class PresenceChange(NamedTuple):
    """The users who have come to a topic, and gone, since the last change."""

    topic: str
    joined: tuple[PresentUser, ...]
    left: tuple[str, ...]
    totals: PresenceCount


class _Place:
    """A user at a topic."""

    __slots__ = ("is_shown", "last", "seats")

    def __init__(self) -> None:
        self.seats: dict[str, Seat] = {}
        """By worker."""
        self.is_shown = False
        """Whether the user has been said to have joined."""
        self.last = Seat(0, 0)
        """The seats joined; after the last one has ended, its `since`, without connections."""

    def put(self, worker: str, seat: Seat | None) -> int:
        """Put the seat on `worker`, or end it; return by how many connections that is more."""
        if seat is None:
            self.seats.pop(worker, None)
        else:
            self.seats[worker] = seat
        before, seats = self.last, self.seats.values()
        since = min((each.since for each in seats), default=before.since)
        self.last = Seat(since, sum(each.connections for each in seats))
        return self.last.connections - before.connections


class _Room:
    """The users at one topic."""

    __slots__ = ("connections", "places", "shown")

    def __init__(self) -> None:
        self.places: dict[str, _Place] = {}
        self.shown = 0
        """The number of users who are shown."""
        self.connections = 0
        """Theirs."""


class PresenceView:
    """Joins the seats of a user on several workers.

    What it shows changes in `take_changes` alone, so that the users shown before, and a change,
    make the users shown after it. A user is shown `grace_s` seconds longer than there is a seat:
    one who reloads a page has not left.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._rooms: dict[str, _Room] = {}
        self._changed: dict[tuple[str, str], None] = {}
        """Topics and users of which a seat has begun or ended, in that order."""
        self._leaving: dict[tuple[str, str], float] = {}
        """When those who have no seat any more count as gone, in this order."""

    def __len__(self) -> int:
        """The number of users shown, summed over all topics."""
        return sum(room.shown for room in self._rooms.values())

    def put(self, worker: str, topic: str, username: str, seat: Seat | None) -> None:
        """The user has `seat` at `topic` on `worker`; None for no more."""
        room = self._rooms.get(topic)
        if room is None:
            if seat is None:
                return
            room = self._rooms[topic] = _Room()
        place = room.places.get(username)
        if place is None:
            if seat is None:
                return
            place = room.places[username] = _Place()
        more = place.put(worker, seat)
        if place.is_shown:
            room.connections += more
        if bool(place.seats) is not place.is_shown or (topic, username) in self._leaving:
            self._changed[topic, username] = None

    def take_changes(self, now: float) -> list[PresenceChange]:
        """Return who has joined and left, topic by topic. `now` is monotonic, in seconds."""
        if not (self._changed or self._leaving):
            return []
        joined: dict[str, list[PresentUser]] = {}
        left: dict[str, list[str]] = {}
        changed, self._changed = self._changed, {}
        for topic, username in changed:
            self._look(topic, username, now, joined)
        while self._leaving:
            topic, username = key = next(iter(self._leaving))
            if self._leaving[key] > now:
                break
            del self._leaving[key]
            self._remove(topic, username)
            left.setdefault(topic, []).append(username)
        return [
            PresenceChange(
                topic, tuple(joined.get(topic, ())), tuple(left.get(topic, ())), self.count(topic)
            )
            for topic in {**joined, **left}
        ]

    def count(self, topic: str) -> PresenceCount:
        """Return how many users and connections are at `topic`."""
        room = self._rooms.get(topic)
        return PresenceCount(0, 0) if room is None else PresenceCount(room.shown, room.connections)

    def users(self, topic: str) -> list[PresentUser]:
        """Return the users at `topic`, in the order of their names."""
        room = self._rooms.get(topic)
        places = () if room is None else room.places.items()
        return sorted(PresentUser(name, *place.last) for name, place in places if place.is_shown)

    def topics(self) -> Iterator[str]:
        """Yield the topics at which a user is shown."""
        return (topic for topic, room in self._rooms.items() if room.shown)

    def _look(
        self, topic: str, username: str, now: float, joined: dict[str, list[PresentUser]]
    ) -> None:
        """Show a user who has come, or begin to wait for one who has gone."""
        room = self._rooms[topic]
        place = room.places[username]
        if place.seats:
            self._leaving.pop((topic, username), None)
            if not place.is_shown:
                place.is_shown = True
                room.shown += 1
                room.connections += place.last.connections
                joined.setdefault(topic, []).append(PresentUser(username, *place.last))
        elif not place.is_shown:
            self._remove(topic, username)
        else:
            self._leaving.setdefault((topic, username), now + self._grace_s)

    def _remove(self, topic: str, username: str) -> None:
        room = self._rooms[topic]
        if room.places.pop(username).is_shown:
            room.shown -= 1
        if not room.places:
            del self._rooms[topic]
