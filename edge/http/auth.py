"""Sign-in over HTTP: the routes under `/auth`, and the dependency that authenticates requests."""

import asyncio
import logging
import math
import time
from collections import Counter
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import BaseModel

from edge.core.identity.access import Identity
from edge.core.identity.credentials import COOKIE_NAME, CredentialRules
from edge.core.identity.request_head import RequestHead
from edge.core.identity.tokens import InvalidToken, Tokens, TokenTooLong
from edge.core.identity.wrong_passwords import Attempt, WrongPasswords, address_of
from edge.http.hashing import ClientGone, HashingQueue, HashingRefused
from edge.http.users import MAX_NAME_CHARS, User, UsersError, UsersFile
from relay.shared.logs import LimitedLog

RETRY_S = 1
"""Seconds after which a sign-in that found no room should come again."""
logger = logging.getLogger(__name__)


class TokenReply(BaseModel):
    """The reply of an OAuth2 token endpoint (RFC 6749, section 5.1)."""

    access_token: str
    token_type: str = "bearer"
    expires_in: int
    """Seconds."""


class WhoAmI(BaseModel):
    """The identity in the request's token."""

    username: str
    role: str
    expires_at: int
    """Unix time in seconds."""


class Authentication:
    """Authenticates a request by any valid token in it; a FastAPI dependency."""

    def __init__(self, tokens: Tokens, rules: CredentialRules) -> None:
        self._tokens = tokens
        self._rules = rules

    def __call__(self, request: Request) -> Identity:
        """Return the identity in the first valid token of the request, or answer 401."""
        head = RequestHead.of(request.scope["headers"], request.scope["query_string"])
        credentials = self._rules.of_request(head)
        try:
            return self._tokens.first_valid(
                (*credentials.explicit, *credentials.cookies), time.time()
            )
        except InvalidToken as error:
            detail = (
                f"Invalid token: {error}"
                if isinstance(error, TokenTooLong)
                else "Not authenticated"
            )
            raise HTTPException(401, detail, {"WWW-Authenticate": "Bearer"}) from None


class PasswordSignIn:
    """Checks passwords and issues tokens."""

    def __init__(self, tokens: Tokens, users: UsersFile, token_ttl_s: int) -> None:
        self._tokens = tokens
        self._users = users
        self._token_ttl_s = token_ttl_s
        self._queue = HashingQueue()
        self._wrong = WrongPasswords()
        self._log = LimitedLog(logger)

    async def token(self, username: str, password: str, request: Request) -> TokenReply:
        """Return a token for the user, or answer 401, 429 or 503.

        Counts the outcome in the `sign_ins` of the worker.
        """
        attempt = Attempt(username[:MAX_NAME_CHARS], address_of(_host(request)))
        outcomes: Counter[str] = request.state.worker.stats.sign_ins
        wait_s = self._wrong.wait_s(attempt, time.monotonic())
        if wait_s > 0:
            outcomes["delayed"] += 1
            self._warn("delayed after wrong passwords", attempt)
            raise _try_later(429, "Too many wrong passwords", wait_s)
        self._wrong.begin(attempt, time.monotonic())
        try:
            user = await self._verify(attempt, username, password, request)
        except ClientGone:
            outcomes["abandoned"] += 1
            # Nobody reads it.
            raise HTTPException(503, "The client has left") from None
        except HashingRefused as refused:
            outcomes["overloaded"] += 1
            self._warn("refused, because too many others wait", attempt)
            status = 429 if refused.is_own_fault else 503
            raise _try_later(status, "Too many sign-ins at a time", RETRY_S) from None
        except UsersError as error:
            self._log.error("users", "nobody can sign in: %s", error)
            raise HTTPException(503, "The users file cannot be read") from None
        if user is None:
            outcomes["wrong"] += 1
            self._warn("refused: wrong user name or password", attempt)
            raise HTTPException(
                401, "Incorrect username or password", {"WWW-Authenticate": "Bearer"}
            )
        outcomes["succeeded"] += 1
        token = self._tokens.issue(username, user.role, int(time.time()) + self._token_ttl_s)
        return TokenReply(access_token=token, expires_in=self._token_ttl_s)

    async def _verify(
        self, attempt: Attempt, username: str, password: str, request: Request
    ) -> User | None:
        """Check the password in its turn, and note whether it was right."""
        was_checked = False
        try:
            async with self._queue.turn(attempt.address, partial(_wait_gone, request)):
                # In a thread, because argon2 takes long and releases the GIL.
                user = await asyncio.to_thread(self._users.verify, username, password)
                was_checked = True
        finally:
            if not was_checked:
                self._wrong.withdrawn(attempt)
        if user is not None:
            self._wrong.succeeded(attempt)
        return user

    def _warn(self, outcome: str, attempt: Attempt) -> None:
        # The name is the client's text: `%r` leaves no line break and no control character in it.
        self._log.warning(
            outcome, "sign-in as %.80r from %s %s", attempt.username, attempt.address, outcome
        )


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


def auth_router(
    tokens: Tokens, users: UsersFile, authentication: Authentication, token_ttl_s: int
) -> APIRouter:
    """Return the routes under `/auth`."""
    router = APIRouter(prefix="/auth", tags=["authentication"])
    passwords = PasswordSignIn(tokens, users, token_ttl_s)

    @router.post("/token")
    async def sign_in(
        form: Annotated[OAuth2PasswordRequestForm, Depends()], request: Request, response: Response
    ) -> TokenReply:
        """Sign in with a password (OAuth2 password form). Also sets the cookie."""
        reply = await passwords.token(form.username, form.password, request)
        response.set_cookie(
            COOKIE_NAME,
            reply.access_token,
            max_age=reply.expires_in,
            httponly=True,
            # Another site's page must not act with this cookie.
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        response.headers["Cache-Control"] = "no-store"
        return reply

    @router.post("/logout", status_code=204)
    async def sign_out(response: Response) -> None:
        """Clear the cookie. The token itself stays valid until it expires."""
        response.delete_cookie(COOKIE_NAME, httponly=True, samesite="strict")

    @router.get("/me")
    async def who_am_i(identity: Annotated[Identity, Depends(authentication)]) -> WhoAmI:
        """Return the signed-in user."""
        return WhoAmI(
            username=identity.username, role=identity.role, expires_at=identity.expires_at
        )

    return router
