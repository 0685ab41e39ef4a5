"""The next steps of a demo manager. Decisions only: takes times, returns steps."""

import heapq
import itertools
from collections.abc import Sequence, Set
from enum import Enum, auto
from random import Random
from typing import NamedTuple

ACTION_INTERVAL_S = 1.5
FIRST_BACKUP_AFTER_S = 1.0
BACKUP_INTERVAL_S = 9.0
STATUSES_INTERVAL_S = 5.0
START_AGAIN_AFTER_S = 4.0


class Do(Enum):
    """The types of steps."""

    START = auto()
    STOP = auto()
    RESTART = auto()
    SEND_COMMAND = auto()
    CHANGE_ALLOWLIST = auto()
    BACK_UP = auto()
    EMIT_STATUSES = auto()


class Step(NamedTuple):
    """One step; `server_name` is empty if it concerns all servers."""

    do: Do
    server_name: str = ""
    username: str = ""


class _Timer(Enum):
    ACTION = auto()
    BACKUP = auto()
    STATUSES = auto()


_ACTIONS = (
    Do.SEND_COMMAND,
    Do.CHANGE_ALLOWLIST,
    Do.SEND_COMMAND,
    Do.RESTART,
    Do.SEND_COMMAND,
    Do.CHANGE_ALLOWLIST,
    Do.SEND_COMMAND,
    Do.STOP,
)


class Schedule:
    """An action every 1 to 2 s and a backup every 9 s, alternating servers and users."""

    def __init__(
        self, server_names: Sequence[str], users: Sequence[str], now: float, random: Random
    ) -> None:
        self._random = random
        self._actions = itertools.cycle(_ACTIONS)
        self._backups = itertools.cycle(server_names)
        self._users = itertools.cycle(users)
        self._server_count = len(server_names)
        self._numbers = itertools.count()
        """Keeps entries of equal time in the order of their creation."""
        self._agenda: list[tuple[float, int, _Timer | Step]] = []
        self._add(now + ACTION_INTERVAL_S, _Timer.ACTION)
        self._add(now + FIRST_BACKUP_AFTER_S, _Timer.BACKUP)
        self._add(now + STATUSES_INTERVAL_S, _Timer.STATUSES)

    def next_at(self) -> float:
        """Return when `take_due` has a step to decide, in monotonic seconds."""
        return self._agenda[0][0]

    def start_again(self, server_name: str, now: float) -> None:
        """Schedule the start of a stopped server in 4 seconds."""
        self._add(now + START_AGAIN_AFTER_S, Step(Do.START, server_name))

    def take_due(self, now: float, running: Set[str], busy: Set[str]) -> list[Step]:
        """Return the steps that are due.

        Servers that are `busy` with a backup are not stopped, and not backed up twice at once.
        """
        steps = []
        while self._agenda[0][0] <= now:
            _, _, entry = heapq.heappop(self._agenda)
            step = entry if isinstance(entry, Step) else self._on_timer(entry, now, running, busy)
            if step is not None and not (step.do is Do.START and step.server_name in running):
                steps.append(step)
        return steps

    def _on_timer(
        self, timer: _Timer, now: float, running: Set[str], busy: Set[str]
    ) -> Step | None:
        match timer:
            case _Timer.STATUSES:
                self._add(now + STATUSES_INTERVAL_S, timer)
                return Step(Do.EMIT_STATUSES)
            case _Timer.BACKUP:
                self._add(now + BACKUP_INTERVAL_S, timer)
                return self._next_backup(busy)
            case _Timer.ACTION:
                self._add(now + ACTION_INTERVAL_S * self._random.uniform(0.8, 1.2), timer)
                return self._next_action(running, busy)

    def _next_backup(self, busy: Set[str]) -> Step | None:
        for _ in range(self._server_count):
            name = next(self._backups)
            if name not in busy:
                return Step(Do.BACK_UP, name, next(self._users))
        return None

    def _next_action(self, running: Set[str], busy: Set[str]) -> Step | None:
        do = next(self._actions)
        idle = sorted(running - busy)
        if do in (Do.RESTART, Do.STOP):
            if idle and len(running) == self._server_count:
                return Step(do, self._random.choice(idle))
            do = Do.SEND_COMMAND
        return Step(do, self._random.choice(sorted(running))) if running else None

    def _add(self, at: float, entry: _Timer | Step) -> None:
        heapq.heappush(self._agenda, (at, next(self._numbers), entry))
