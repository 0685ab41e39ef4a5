"""When a task's progress may be told again.

A task may report progress in a tight loop; its user sees the newest value at most once an
interval, and always the last one. The caller provides the locking.
"""


class Pacer:
    """Decides for many keys at once. Times are seconds on the caller's clock."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._told_at: dict[str, float] = {}
        self._due_at: dict[str, float] = {}

    def changed(self, key: str, now: float) -> None:
        """There is something new to tell about `key`."""
        if key not in self._due_at:
            self._due_at[key] = self._told_at.get(key, now - self._interval_s) + self._interval_s

    def forget(self, key: str) -> None:
        """Nothing will be told about `key` any more."""
        self._told_at.pop(key, None)
        self._due_at.pop(key, None)

    def next_due_at(self) -> float | None:
        """When `take_due` has something to return, or None."""
        return min(self._due_at.values(), default=None)

    def take_due(self, now: float) -> list[str]:
        """Return the keys to tell about now; the caller does."""
        due = [key for key, due_at in self._due_at.items() if due_at <= now]
        for key in due:
            del self._due_at[key]
            self._told_at[key] = now
        return due
