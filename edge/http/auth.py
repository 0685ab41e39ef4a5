"""Sign-in over HTTP: the routes under `/auth`, and the dependency that authenticates requests."""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from edge.channel import Channel, RelayAway
from edge.core.identity.access import NEVER, Identity
from edge.core.identity.credentials import COOKIE_NAME, CredentialRules
from edge.core.identity.request_head import RequestHead
from edge.core.identity.tokens import InvalidToken, NotKnownYet, Tokens, TokenTooLong
from edge.http.passwords import PasswordSignIn, TokenReply
from edge.http.sign_in_request import REQUEST_BODY, SignIn, read_sign_in
from relay.shared.settings_error import SettingsError
from relay.wire.errors import WireError
from relay.wire.revocations import Revocation

RETRY_S = 1
"""Seconds after which a client should come back whose token cannot be judged yet."""
KNOWN_FOR_S = 30 * 24 * 3600
"""Seconds that a browser keeps the cookie after its token has expired: it signs nobody in any more,
but `PasswordSignIn` knows the browser by it."""


_SIGN_OUT_ERRORS: dict[int | str, dict[str, Any]] = {
    503: {"description": "The relay is away: the cookie is cleared, and the token stays valid"}
}

Identify = Callable[..., Identity | Awaitable[Identity]]
"""A FastAPI dependency that returns the user of a request, or answers 401."""


class SignedOut(BaseModel):
    """The reply to `GET /auth/logout`."""

    status: str = "success"
    message: str = "Successfully logged out."


class WhoAmI(BaseModel):
    """The identity in the request's token."""

    username: str
    role: str
    expires_at: int | None
    """Unix time in seconds; null if the sign-in does not expire."""
    expires_in: int | None
    """Seconds."""


class NotYet(HTTPException):
    """Nobody can say yet whether the token is valid: the client is to come back."""

    def __init__(self, problem: str) -> None:
        super().__init__(503, problem, {"Retry-After": str(RETRY_S)})


class Authentication:
    """Authenticates a request by any valid token in it; a FastAPI dependency."""

    def __init__(self, tokens: Tokens, rules: CredentialRules) -> None:
        self._tokens = tokens
        self._rules = rules

    # Not a plain function, which FastAPI would call in a thread: `Tokens` belongs to the loop.
    async def __call__(self, request: Request) -> Identity:
        """Return the identity in the first valid token of the request, or answer 401 or 503."""
        try:
            return self._tokens.first_valid(self._shown(request), time.time())
        except NotKnownYet as error:
            raise NotYet(str(error)) from None
        except InvalidToken as error:
            detail = (
                f"Invalid token: {error}"
                if isinstance(error, TokenTooLong)
                else "Not authenticated"
            )
            raise HTTPException(401, detail, {"WWW-Authenticate": "Bearer"}) from None

    def identities(self, request: Request) -> list[Identity]:
        """Return the identities in all valid tokens of the request. Raises `NotKnownYet`."""
        found = []
        for token in self._shown(request):
            try:
                found.append(self._tokens.first_valid((token,), time.time()))
            except NotKnownYet:
                raise
            except InvalidToken:
                continue
        return found

    def _shown(self, request: Request) -> tuple[str, ...]:
        head = RequestHead.of(request.scope["headers"], request.scope["query_string"])
        credentials = self._rules.of_request(head)
        return (*credentials.explicit, *credentials.cookies)

    def is_own_request(self, request: Request) -> bool:
        """Return whether no other page has made the browser send this request with its cookie.

        A token elsewhere than in a cookie shows that the page has it. Allowed origins may do what
        our own pages do.
        """
        head = RequestHead.of(request.scope["headers"], request.scope["query_string"])
        site = head.headers.get("sec-fetch-site", "none")
        return (
            site in ("none", "same-origin")
            or head.headers.get("origin") in self._rules.allowed_origins
            or bool(self._rules.of_request(head).explicit)
        )

    def accepts_cookie(self, request: Request, name: str) -> bool:
        """Return whether a cookie with this name signs in here."""
        head = RequestHead.of(request.scope["headers"], b"")
        try:
            self._tokens.first_valid(head.cookies(name), time.time())
        except NotKnownYet:
            return True
        except InvalidToken:
            return False
        return True


class SessionCookie:
    """The cookie that signing in sets and signing out clears."""

    def __init__(self, name: str, authentication: Authentication) -> None:
        self._name = name
        self._authentication = authentication

    def set(self, response: Response, request: Request, token: TokenReply) -> None:
        """Sign the browser in."""
        response.set_cookie(
            self._name,
            token.access_token,
            max_age=token.expires_in + KNOWN_FOR_S,
            httponly=True,
            # Another site's page must not act with this cookie.
            samesite="strict",
            secure=request.url.scheme == "https",
        )

    def names(self, request: Request) -> tuple[str, ...]:
        """Return the names of the cookies by which the browser is signed in.

        The common cookie too, if it signs in here: another edge on this host, with another secret,
        may have been meant by it.
        """
        accepts_common = self._authentication.accepts_cookie(request, COOKIE_NAME)
        return (self._name, COOKIE_NAME) if accepts_common else (self._name,)

    def clear(self, response: Response, names: Iterable[str]) -> None:
        """Sign the browser out."""
        for name in dict.fromkeys(names):
            response.delete_cookie(name, httponly=True, samesite="strict")


class SignOut:
    """Ends sessions: clears the cookie, and revokes the tokens that the request shows."""

    def __init__(
        self, authentication: Authentication, cookie: SessionCookie, channel: Channel
    ) -> None:
        self._authentication = authentication
        self._cookie = cookie
        self._channel = channel

    async def __call__(self, request: Request, done: Response, *, everywhere: bool) -> Response:
        """Return `done`, or 503 if the tokens stay valid because the relay is away.

        With `everywhere` all tokens of the users are revoked. A page elsewhere revokes nothing.
        """
        problem = None
        # Before its token is revoked, and signs in nobody any more.
        names = self._cookie.names(request)
        if self._authentication.is_own_request(request):
            try:
                await self._revoke(self._authentication.identities(request), everywhere)
            except (RelayAway, SettingsError, WireError, NotKnownYet) as error:
                problem = str(error)
        if problem is not None:
            detail = f"Signed out here; the token stays valid: {problem}"
            done = JSONResponse({"detail": detail}, 503, {"Retry-After": "1"})
        self._cookie.clear(done, names)
        done.headers["Cache-Control"] = "no-store"
        return done

    async def _revoke(self, identities: list[Identity], everywhere: bool) -> None:
        for each in dict.fromkeys(
            Revocation(0, each.username)
            if everywhere
            else Revocation(0, each.username, each.token_id, each.expires_at * 1000)
            for each in identities
        ):
            await self._channel.revoke(each)


def sign_in_router(passwords: PasswordSignIn, cookie: SessionCookie) -> APIRouter:
    """Return the route under `/auth` where users sign in."""
    router = APIRouter(prefix="/auth", tags=["authentication"])

    @router.post("/token", openapi_extra={"requestBody": REQUEST_BODY})
    async def sign_in(
        asked: Annotated[SignIn, Depends(read_sign_in)], request: Request, response: Response
    ) -> TokenReply:
        """Sign in with a password: an OAuth2 password form, or JSON. Also sets the cookie."""
        password = asked.password.get_secret_value()
        reply = await passwords.token(asked.username, password, request, asked.remember_me)
        cookie.set(response, request, reply)
        response.headers["Cache-Control"] = "no-store"
        return reply

    return router


def identity_router(identify: Identify) -> APIRouter:
    """Return the route under `/auth` that tells who is signed in."""
    router = APIRouter(prefix="/auth", tags=["authentication"])

    @router.get("/me")
    async def who_am_i(identity: Annotated[Identity, Depends(identify)]) -> WhoAmI:
        """Return the signed-in user."""
        until = identity.expires_at
        return WhoAmI(
            username=identity.username,
            role=identity.role,
            expires_at=None if until == NEVER else until,
            expires_in=None if until == NEVER else int(until - time.time()),
        )

    return router


def sign_out_router(authentication: Authentication, sign_out: SignOut) -> APIRouter:
    """Return the routes under `/auth` where users sign out."""
    router = APIRouter(prefix="/auth", tags=["authentication"], responses=_SIGN_OUT_ERRORS)

    @router.post("/logout", status_code=204)
    async def sign_out_here(request: Request, everywhere: bool = False) -> Response:
        """Clear the cookie, and revoke the tokens of the request, or all of the user."""
        return await sign_out(request, Response(status_code=204), everywhere=everywhere)

    @router.get(
        "/logout", dependencies=[Depends(authentication)], responses={200: {"model": SignedOut}}
    )
    async def sign_out_by_link(request: Request, everywhere: bool = False) -> Response:
        """The same, for front ends that sign out so, with a valid token.

        A page elsewhere can make a browser send this request, and must not end its session. The
        cookie is `SameSite=Strict`: browsers send it with no request of another site, which is
        answered 401 and clears nothing. A page of the same site is refused by `Sec-Fetch-Site`.
        """
        if not authentication.is_own_request(request):
            raise HTTPException(403, "A page elsewhere cannot sign out")
        done = JSONResponse(SignedOut().model_dump())
        return await sign_out(request, done, everywhere=everywhere)

    return router
