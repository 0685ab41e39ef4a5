"""`RequestKeys`: the bodies of requests by their `Idempotency-Key` (docs/http.md, "Publish").

The relay takes repeated events once, whichever worker they come through. This is about something
else: a client that uses a key for two different requests is told so by the worker that remembers.
"""

from collections import OrderedDict

REMEMBERED_S = 24 * 3600.0
MAX_KEYS = 10_000
"""Beyond either limit the key that was used first is forgotten."""


class RequestKeys:
    """Keys with the digest of the first body that came with each."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def is_of_another(self, username: str, key: str, digest: str, now: float) -> bool:
        """Return whether `key` came with another body before; remember it if it is new.

        Keys of different users have nothing to do with each other. `now` is in seconds.
        """
        known = self._bodies.get((username, key))
        if known is not None and known[1] > now - REMEMBERED_S:
            return known[0] != digest
        self._bodies[username, key] = digest, now
        self._bodies.move_to_end((username, key))
        if len(self._bodies) > MAX_KEYS:
            self._bodies.popitem(last=False)
        return False

    def forget(self, username: str, key: str) -> None:
        """The request was refused for what is in it: another one may have its key."""
        self._bodies.pop((username, key), None)
