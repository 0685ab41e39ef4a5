"""`PasswordSignIn`: from a user name and a password to a token, at a bounded cost."""

import asyncio
import hashlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from fastapi import HTTPException, Request
from pydantic import BaseModel

from edge.core.identity.credentials import CredentialRules
from edge.core.identity.request_head import RequestHead
from edge.core.identity.tokens import Tokens
from edge.core.identity.wrong_passwords import (
    KNOWN_BROWSER,
    Attempt,
    WrongPasswords,
    address_of,
)
from edge.http.hashing import ClientGone, HashingQueue, HashingRefused
from edge.http.users import User, UsersError, UsersFile
from edge.worker import worker_of
from relay.shared.logs import LimitedLog
from relay.wire.usernames import MAX_NAME_CHARS, normal_username

RETRY_S = 1
"""Seconds after which a sign-in that found no room should come again."""
logger = logging.getLogger(__name__)


class TokenReply(BaseModel):
    """The reply of an OAuth2 token endpoint (RFC 6749, section 5.1)."""

    access_token: str
    token_type: str = "bearer"
    expires_in: int
    """Seconds."""


class PasswordSignIn:
    """Checks passwords and issues tokens."""

    def __init__(
        self,
        tokens: Tokens,
        users: UsersFile,
        rules: CredentialRules,
        token_ttl_s: int,
        remembered_ttl_s: int,
    ) -> None:
        """Tokens are valid for `token_ttl_s`, or `remembered_ttl_s` for who asks for that."""
        self._tokens = tokens
        self._users = users
        self._rules = rules
        self._token_ttl_s = token_ttl_s
        self._remembered_ttl_s = remembered_ttl_s
        self._queue = HashingQueue()
        self._wrong = WrongPasswords()
        self._log = LimitedLog(logger)

    async def token(
        self, username: str, password: str, request: Request, remember_me: bool = False
    ) -> TokenReply:
        """Return a token for the user, or answer 401, 429 or 503.

        Counts the outcome in the `sign_ins` of the worker.
        """
        username = normal_username(username)
        attempt = Attempt(username[:MAX_NAME_CHARS], self._origin(username, request))
        outcomes: Counter[str] = worker_of(request).stats.sign_ins
        wait_s = self._wrong.wait_s(attempt, time.monotonic())
        if wait_s > 0:
            outcomes["delayed"] += 1
            self._warn("delayed after wrong passwords", attempt, request)
            raise _try_later(429, "Too many wrong passwords", wait_s)
        check = partial(self._users.verify, username, password)
        try:
            user = await self._verify(attempt, check, request)
        except ClientGone:
            outcomes["abandoned"] += 1
            # Nobody reads it.
            raise HTTPException(503, "The client has left") from None
        except HashingRefused as refused:
            outcomes["overloaded"] += 1
            self._warn("refused, because too many others wait", attempt, request)
            status = 429 if refused.is_own_fault else 503
            raise _try_later(status, "Too many sign-ins at a time", RETRY_S) from None
        except UsersError as error:
            self._log.error("users", "nobody can sign in: %s", error)
            raise HTTPException(503, "The users file cannot be read") from None
        if user is None:
            outcomes["wrong"] += 1
            self._warn("refused: wrong user name or password", attempt, request)
            raise HTTPException(
                401, "Incorrect username or password", {"WWW-Authenticate": "Bearer"}
            )
        outcomes["succeeded"] += 1
        ttl_s = self._remembered_ttl_s if remember_me else self._token_ttl_s
        return self._issued(username, user.role, ttl_s, request)

    def _issued(self, username: str, role: str, ttl_s: int, request: Request) -> TokenReply:
        now = time.time()
        token = self._tokens.issue(username, role, int(now) + ttl_s, _issued_at(request, now))
        return TokenReply(access_token=token, expires_in=ttl_s)

    async def _verify(
        self, attempt: Attempt, check: Callable[[], User | None], request: Request
    ) -> User | None:
        """Check the password in its turn, and note whether it was right."""
        standing = self._wrong.standing(attempt, time.monotonic())
        self._wrong.begin(attempt, time.monotonic())
        address = address_of(_host(request))
        was_checked = False
        try:
            # By the address, also of a known browser: a user may have any number of old tokens.
            async with self._queue.turn(address, standing, partial(_wait_gone, request)):
                # In a thread, because argon2 takes long and releases the GIL.
                user = await asyncio.to_thread(check)
                was_checked = True
        finally:
            if not was_checked:
                self._wrong.withdrawn(attempt)
        if user is not None:
            self._wrong.succeeded(attempt, address)
        return user

    def _origin(self, username: str, request: Request) -> str:
        """Return the browser if it shows a token of this user, even an expired one; else the
        address."""
        head = RequestHead.of_scope(request.scope)
        credentials = self._rules.of_request(head)
        for token in (*credentials.explicit, *credentials.cookies):
            if self._tokens.is_of(username, token, time.time()):
                return KNOWN_BROWSER + hashlib.sha256(token.encode()).hexdigest()[:16]
        return address_of(_host(request))

    def _warn(self, outcome: str, attempt: Attempt, request: Request) -> None:
        # The name is the client's text: `%r` leaves no line break and no control character in it.
        address = address_of(_host(request))
        self._log.warning(
            outcome, "sign-in as %.80r from %s %s", attempt.username, address, outcome
        )


def _issued_at(request: Request, now: float) -> float:
    """Return `now`, or the relay's time if that is earlier.

    Revocations have the relay's time. By a clock that is ahead of it, a token would seem to be
    younger than a revocation that came after it.
    """
    relay_ms = worker_of(request).relay_state.clock.at(asyncio.get_running_loop().time())
    return min(now, relay_ms / 1000) if relay_ms else now


async def _wait_gone(request: Request) -> None:
    """Return when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _host(request: Request) -> str | None:
    return None if request.client is None else request.client.host


def _try_later(status: int, detail: str, wait_s: float) -> HTTPException:
    seconds = math.ceil(wait_s)
    return HTTPException(
        status, f"{detail}. Try again in {seconds} s.", {"Retry-After": str(seconds)}
    )
