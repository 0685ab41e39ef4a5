"""`Revocations`: the tokens that are no longer valid, as a worker knows them (section 6).

Bounded: beyond `MAX_TOKENS` or `MAX_USERS` the oldest entry is forgotten, and all tokens that were
issued until its time are refused in its place. So is every token that is older than the oldest
revocation in a journal that has removed earlier ones. A token that was revoked never becomes valid
again; at worst an old one that was not has to be replaced.
"""

from collections.abc import Iterator
from typing import NamedTuple

from edge.core.identity.access import Identity
from relay.wire.revocations import Revocation

MAX_TOKENS = 100_000
MAX_USERS = 100_000
SWEPT_FROM = 1024
"""Entries of tokens from which those that have expired are looked for, now and then."""


class _KnownRevocation(NamedTuple):
    revocation: Revocation
    reading: int
    """The number of the reading of the stream in which it was seen last."""


class Revocations:
    """Takes revocations in the order of their stream, and answers whether a token is revoked."""

    def __init__(self) -> None:
        self.is_known = False
        """Whether the stream was read to its end once: before, nobody may be let in."""
        self._tokens: dict[str, _KnownRevocation] = {}
        self._users: dict[str, _KnownRevocation] = {}
        """Both in the order of their times."""
        self._all: _KnownRevocation | None = None
        self._reading = 0
        self._sweep_at = SWEPT_FROM

    def __len__(self) -> int:
        return len(self._tokens) + len(self._users) + (self._all is not None)

    def begin_reading(self) -> None:
        """The stream is read from its first event. All that is known stays."""
        self._reading += 1

    def take(self, revocation: Revocation, now_ms: int) -> bool:
        """Take a revocation; return whether it revokes more than was revoked before."""
        entry = _KnownRevocation(revocation, self._reading)
        if revocation.token_id is not None:
            return self._take_token(revocation.token_id, entry, now_ms)
        name = revocation.username
        known = self._all if name is None else self._users.get(name)
        if known is not None and known.revocation.before > revocation.before:
            return False
        if name is None:
            self._all = entry
        else:
            self._users.pop(name, None)
            self._users[name] = entry
            self._forget_oldest(self._users, MAX_USERS)
        return known is None or known.revocation.before < revocation.before

    def begin_after(self, oldest_ms: int) -> None:
        """The journal has no revocation of before `oldest_ms`, although there were some."""
        if self._all is None or self._all.revocation.before < oldest_ms:
            self._all = _KnownRevocation(Revocation(oldest_ms), self._reading)

    def unread(self) -> Iterator[Revocation]:
        """Yield those that were not in the last reading: the journal has lost them."""
        for entry in (*self._tokens.values(), *self._users.values(), self._all):
            if entry is not None and entry.reading != self._reading:
                yield entry.revocation

    def refuses(self, identity: Identity) -> bool:
        """Return whether the token of `identity` is revoked.

        An identity without `issued_at` is a user by the word of an application, which decides about
        later connections itself.
        """
        if identity.token_id is not None and identity.token_id in self._tokens:
            return True
        if identity.issued_at is None:
            return False
        issued_ms = identity.issued_at * 1000
        entries = (self._users.get(identity.username), self._all)
        return any(each is not None and issued_ms <= each.revocation.before for each in entries)

    def _take_token(self, token_id: str, entry: _KnownRevocation, now_ms: int) -> bool:
        until = entry.revocation.until
        if until is not None and until <= now_ms:
            return False
        is_new = token_id not in self._tokens
        self._tokens.pop(token_id, None)
        self._tokens[token_id] = entry
        if len(self._tokens) >= self._sweep_at:
            self._sweep(now_ms)
        self._forget_oldest(self._tokens, MAX_TOKENS)
        return is_new

    def _sweep(self, now_ms: int) -> None:
        """Forget tokens that have expired anyway."""
        expired = [
            token_id
            for token_id, entry in self._tokens.items()
            if entry.revocation.until is not None and entry.revocation.until <= now_ms
        ]
        for token_id in expired:
            del self._tokens[token_id]
        self._sweep_at = max(SWEPT_FROM, 2 * len(self._tokens))

    def _forget_oldest(self, entries: dict[str, _KnownRevocation], limit: int) -> None:
        while len(entries) > limit:
            oldest = entries.pop(next(iter(entries)))
            self.begin_after(oldest.revocation.before)
