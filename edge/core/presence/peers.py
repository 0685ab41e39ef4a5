"""`Peers`: the members of the other workers, and which of these workers are alive.

Times are monotonic, in seconds.
"""

from typing import Any

from edge.core.presence.values import Members, StateName, read_beat, read_bucket, read_name
from edge.core.presence.view import PresenceView

BEAT_S = 1.0
"""Seconds between the beats of a worker."""
MISSING_AFTER_S = 3.0
"""A worker whose beat is missing for so long is gone, with its members."""
MAX_PEERS = 1024
MAX_SEATS = 500_000
"""Of all other workers. Further workers and seats are not taken."""


class _Peer:
    """Another worker."""

    __slots__ = ("buckets", "expected", "lacked_before", "missing_at")

    def __init__(self) -> None:
        self.buckets: dict[int, tuple[int, Members]] = {}
        """Number to version and members."""
        self.expected: dict[int, int] = {}
        """The versions in the last beat."""
        self.lacked_before = True
        """Whether an expected version was lacking at the beat before; at first, as if so."""
        self.missing_at = 0.0
        """When it counts as gone, unless it is heard."""

    @property
    def lacks(self) -> bool:
        """Whether a bucket was lost, or is on its way."""
        return any(
            self.buckets.get(number, (0,))[0] < version for number, version in self.expected.items()
        )


class Peers:
    """Takes the values of all workers, and puts the seats of the others into `view`."""

    def __init__(self, own: str, view: PresenceView) -> None:
        """`own` is this worker's name, whose values are ignored."""
        self._own = own
        self._view = view
        self._peers: dict[str, _Peer] = {}
        self._seats = 0
        self._lacking: dict[str, None] = {}
        """Those whose retained values are to be requested."""
        self.left_out = 0
        """Seats and beats that were not taken, because there were too many."""

    def __len__(self) -> int:
        """The number of other workers."""
        return len(self._peers)

    def take(self, name: str, value: Any, now: float, *, is_live: bool) -> None:
        """Take the value `name`, which has just been published, or which the relay retained.

        Raises `InvalidEnvelope`.
        """
        state = read_name(name)
        if state.worker == self._own:
            return
        if state.bucket is not None:
            self._take_bucket(state, *read_bucket(value), now, is_live)
        elif is_live:
            # A retained beat says nothing: its worker may be gone for days.
            self._take_beat(state.worker, read_beat(value), now)

    def expire(self, now: float) -> None:
        """Forget the workers that were not heard for too long, and their members."""
        for worker in [name for name, peer in self._peers.items() if peer.missing_at <= now]:
            self._forget(worker)

    def forgive(self, until: float) -> None:
        """Let no worker be gone before `until`: that none is heard is not their fault."""
        for peer in self._peers.values():
            peer.missing_at = max(peer.missing_at, until)

    def take_lacking(self) -> list[str]:
        """Return the workers whose values have to be requested of the relay."""
        lacking, self._lacking = self._lacking, {}
        return [worker for worker in lacking if worker in self._peers]

    def _take_beat(self, worker: str, versions: dict[int, int] | None, now: float) -> None:
        if versions is None:
            self._forget(worker)
            return
        peer = self._heard(worker, now)
        if peer is None:
            return
        peer.expected = versions
        for number in [number for number in peer.buckets if number not in versions]:
            self._replace(worker, peer, number, 0, {})
            del peer.buckets[number]
        # A bucket may be a little later than the beat; if it lacks still at the next, it is lost.
        lacks = peer.lacks
        if lacks and peer.lacked_before:
            self._lacking[worker] = None
        peer.lacked_before = lacks and not peer.lacked_before

    def _take_bucket(
        self, state: StateName, version: int, members: Members, now: float, is_live: bool
    ) -> None:
        peer = self._heard(state.worker, now) if is_live else self._peers.get(state.worker)
        assert state.bucket is not None
        if peer is not None and version > peer.buckets.get(state.bucket, (0,))[0]:
            self._replace(state.worker, peer, state.bucket, version, members)

    def _heard(self, worker: str, now: float) -> _Peer | None:
        peer = self._peers.get(worker)
        if peer is None:
            if len(self._peers) >= MAX_PEERS:
                self.left_out += 1
                return None
            peer = self._peers[worker] = _Peer()
        peer.missing_at = max(peer.missing_at, now + MISSING_AFTER_S)
        return peer

    def _replace(
        self, worker: str, peer: _Peer, number: int, version: int, members: Members
    ) -> None:
        _, before = peer.buckets.get(number, (0, {}))
        if self._seats - len(before) + len(members) > MAX_SEATS:
            self.left_out += len(members)
            members = {}
        self._seats += len(members) - len(before)
        peer.buckets[number] = version, members
        for (topic, username), seat in members.items():
            if before.get((topic, username)) != seat:
                self._view.put(worker, topic, username, seat)
        for topic, username in before:
            if (topic, username) not in members:
                self._view.put(worker, topic, username, None)

    def _forget(self, worker: str) -> None:
        peer = self._peers.pop(worker, None)
        if peer is not None:
            for number in peer.buckets:
                self._replace(worker, peer, number, 0, {})
