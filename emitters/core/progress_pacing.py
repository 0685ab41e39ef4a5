"""When a task's progress may be sent again.

A task may report progress in a tight loop; its user sees the newest value at most once an
interval, and always the last one.
"""


class Pacer:
    """Limits the rate of many keys, each by itself. Times are seconds on the caller's clock.

    Holds two numbers for each key until `forget`. Not thread-safe.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._sent_at: dict[str, float] = {}
        self._due_at: dict[str, float] = {}

    def changed(self, key: str, now: float) -> None:
        """Note that `key` has a new value to send."""
        if key not in self._due_at:
            self._due_at[key] = self._sent_at.get(key, now - self._interval_s) + self._interval_s

    def forget(self, key: str) -> None:
        """Drop `key`: it has no value to send any more."""
        self._sent_at.pop(key, None)
        self._due_at.pop(key, None)

    def next_due_at(self) -> float | None:
        """Return when the next key is due, None if no key has a new value."""
        return min(self._due_at.values(), default=None)

    def take_due(self, now: float) -> list[str]:
        """Return the keys whose values the caller has to send now."""
        due = [key for key, due_at in self._due_at.items() if due_at <= now]
        for key in due:
            del self._due_at[key]
            self._sent_at[key] = now
        return due
