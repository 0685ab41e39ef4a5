"""`WrongPasswords`: how long a sign-in must wait after wrong passwords.

The delay grows with each wrong password, per user and per address, and locks nobody out:

- An address that has guessed wrong for a user waits for the delay of that user and of the address.
- An address without a wrong password for a user waits for the delay of the address alone, so
  guesses from elsewhere never delay the user.
- A user who has signed in from an address before, and has not failed there since, waits for
  nothing, so guesses for other names never delay that user.
- A browser that shows a token of the user, valid or expired, counts as an address of its own, so
  guesses for the user's name from the same address never delay it.

A refused sign-in checks no password and lengthens no delay.
"""

import ipaddress
from collections import OrderedDict
from typing import NamedTuple

FREE_PER_USER = 5
"""Wrong passwords for one user before the next sign-in must wait."""
FREE_PER_ADDRESS = 20
"""The same for one address, behind which there may be many users."""
FIRST_DELAY_S = 1.0
MAX_DELAY_S = 30.0
FORGET_S = 15 * 60.0
"""Wrong passwords are forgotten when none has followed for this long."""
MAX_ENTRIES = 10_000
"""Users, addresses, and pairs of both that are remembered; with more, the oldest are forgotten."""
KNOWN_BROWSER = "browser "
LOCAL = "local"
"""The address of a peer that has none, on a Unix socket."""


class Attempt(NamedTuple):
    """One attempt to sign in."""

    username: str
    address: str
    """As `address_of` returns it; or `KNOWN_BROWSER` and more, for a browser that shows a token of
    this user. It counts apart from all addresses, so that no guess of others delays it."""


class Standing(NamedTuple):
    """By what an attempt takes its turn among others."""

    wrong: int
    """Wrong passwords that came from its address; none if the user is known there."""
    is_new: bool
    """Whether the user has not signed in there yet, or has failed since."""


class _Strikes:
    """The wrong passwords by key. The keys are bounded; counts decay by the caller's clock."""

    def __init__(self) -> None:
        self._found: OrderedDict[object, tuple[int, float]] = OrderedDict()
        """Count and time of the last one, the oldest first."""

    def __len__(self) -> int:
        return len(self._found)

    def count(self, key: object, now: float) -> int:
        count, last_at = self._found.get(key, (0, now))
        return count if now - last_at < FORGET_S else 0

    def since_s(self, key: object, now: float) -> float:
        _, last_at = self._found.get(key, (0, now))
        return now - last_at

    def add(self, key: object, now: float) -> None:
        self._found[key] = (self.count(key, now) + 1, now)
        self._found.move_to_end(key)
        if len(self._found) > MAX_ENTRIES:
            self._found.popitem(last=False)

    def take_back(self, key: object) -> None:
        count, last_at = self._found.get(key, (0, 0.0))
        if count > 1:
            self._found[key] = (count - 1, last_at)
        else:
            self._found.pop(key, None)

    def clear(self, key: object) -> None:
        self._found.pop(key, None)


class WrongPasswords:
    """Remembers wrong passwords by user and by address. Times are seconds of a monotonic clock.

    Call `wait_s` first. If it returns 0, call `begin`, which counts the attempt as wrong, so that
    attempts that run at the same time count as well. Then call `succeeded` or `withdrawn`, or
    neither if the password was wrong.
    """

    def __init__(self) -> None:
        self._users = _Strikes()
        self._addresses = _Strikes()
        self._pairs = _Strikes()
        self._signed_in: OrderedDict[Attempt, None] = OrderedDict()
        """Users with an address from which they have signed in, the oldest first."""

    def __len__(self) -> int:
        """The number of entries in memory."""
        strikes = len(self._users) + len(self._addresses) + len(self._pairs)
        return strikes + len(self._signed_in)

    def wait_s(self, attempt: Attempt, now: float) -> float:
        """Return the seconds until this attempt may begin; 0 if it may now."""
        username, address = attempt
        has_failed_here = self._pairs.count(attempt, now) > 0
        if attempt in self._signed_in and not has_failed_here:
            return 0.0
        of_address = _delay_s(self._addresses.count(address, now), FREE_PER_ADDRESS)
        wait_s = of_address - self._addresses.since_s(address, now)
        if has_failed_here:
            of_user = _delay_s(self._users.count(username, now), FREE_PER_USER)
            wait_s = max(wait_s, of_user - self._pairs.since_s(attempt, now))
        return max(0.0, wait_s)

    def standing(self, attempt: Attempt, now: float) -> Standing:
        """Return by what the attempt, which has not begun, takes its turn."""
        has_been_here = attempt.address.startswith(KNOWN_BROWSER) or attempt in self._signed_in
        is_known = has_been_here and not self._pairs.count(attempt, now)
        wrong = 0 if is_known else self._addresses.count(attempt.address, now)
        return Standing(wrong, not is_known)

    def begin(self, attempt: Attempt, now: float) -> None:
        """Count an attempt whose password will be checked as wrong, until it proves right."""
        self._users.add(attempt.username, now)
        self._addresses.add(attempt.address, now)
        self._pairs.add(attempt, now)

    def succeeded(self, attempt: Attempt, address: str) -> None:
        """The password was right. The client is at `address`, which a known browser's attempt does
        not name."""
        self._users.take_back(attempt.username)
        # The others stay: who has one password must not get more guesses at the next one.
        self._addresses.take_back(attempt.address)
        self._pairs.clear(attempt)
        for place in (attempt, Attempt(attempt.username, address)):
            self._signed_in[place] = None
            self._signed_in.move_to_end(place)
        while len(self._signed_in) > MAX_ENTRIES:
            self._signed_in.popitem(last=False)

    def withdrawn(self, attempt: Attempt) -> None:
        """The password was not checked."""
        self._users.take_back(attempt.username)
        self._addresses.take_back(attempt.address)
        self._pairs.take_back(attempt)


def address_of(host: str | None) -> str:
    """Return the address by which to count `host`: of IPv6 the network of 64 bits, since a
    single machine owns it whole."""
    if not host:
        return LOCAL
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))


def _delay_s(count: int, free: int) -> float:
    if count < free:
        return 0.0
    return float(min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** min(count - free, 30)))
