"""The reaction to a close code, and delays: before the next try, and before a token is renewed."""

import re
from collections.abc import Callable
from enum import Enum, auto

from edge.core.websocket.close_codes import CloseCode

Random = Callable[[], float]
"""Returns a number from 0 to 1."""

BASE_DELAY_S = 0.25
SPREAD_S = 1.0
"""If an edge closes many clients at once, they must not all return at once."""
RENEW_AHEAD_S = 30.0
RENEW_AT_LEAST_S = 5.0
LONGEST_DOUBLING = 16


class CloseAction(Enum):
    """The reaction of the client to a close code."""

    STOP = auto()
    AUTHENTICATE = auto()
    RENEW = auto()
    RECONNECT = auto()
    SPREAD = auto()
    LATER = auto()


ACTION_FOR_ADVICE = {
    "stop: a bug in the client": CloseAction.STOP,
    "get a new token first": CloseAction.AUTHENTICATE,
    "get a new token, reconnect, resume": CloseAction.RENEW,
    "reconnect, resume": CloseAction.RECONNECT,
    "reconnect after the delay in the reason": CloseAction.SPREAD,
    "reconnect after a random delay, resume": CloseAction.SPREAD,
    "reconnect later": CloseAction.LATER,
}
_ACTIONS = {code.code: ACTION_FOR_ADVICE[code.advice] for code in CloseCode}


def close_action(code: int) -> CloseAction:
    """Return the reaction to a close code; an unknown one is a lost connection."""
    return _ACTIONS.get(code, CloseAction.RECONNECT)


def retry_delay_s(action: CloseAction, attempt: int, max_delay_s: float, random: Random) -> float:
    """Return the seconds before try number `attempt`, from 0."""
    if action is CloseAction.LATER:
        return max_delay_s * (1 + random())
    least = SPREAD_S if action is CloseAction.SPREAD else BASE_DELAY_S
    doubled: float = BASE_DELAY_S * 2 ** min(attempt, LONGEST_DOUBLING)
    return random() * min(max_delay_s, max(least, doubled))


def told_delay_s(reason: str, random: Random) -> float | None:
    """Return the seconds that a close reason requests, times 1 to 2; None if it requests none."""
    told = re.search(r"\bretry in ([0-9]+) s\b", reason)
    return None if told is None else int(told[1]) * (1 + random())


def renew_delay_s(remaining_s: float) -> float:
    """Return the seconds before renewing a token that stays valid for `remaining_s`."""
    ahead_s = min(RENEW_AHEAD_S, remaining_s / 5)
    return max(RENEW_AT_LEAST_S, remaining_s - ahead_s)
