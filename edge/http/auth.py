"""Sign-in over HTTP: the routes under `/auth`, and the dependency that authenticates requests."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from edge.channel import Channel, RelayAway
from edge.core.identity.access import NEVER, Identity
from edge.core.identity.credentials import COOKIE_NAME, HOST_PREFIX, CredentialRules
from edge.core.identity.request_head import RequestHead
from edge.core.identity.tokens import InvalidToken, NotKnownYet, Tokens, TokenTooLong
from edge.http.forwarded import peer_of
from edge.http.passwords import PasswordSignIn, TokenReply
from edge.http.problems import responses
from edge.http.sign_in_request import REQUEST_BODY, SignIn, read_sign_in
from edge.worker import worker_of
from relay.shared.logs import LimitedLog
from relay.shared.settings_error import SettingsError
from relay.wire.errors import WireError
from relay.wire.revocations import Revocation

RETRY_S = 1
"""Seconds after which a client should come back whose token cannot be judged yet."""
KNOWN_FOR_S = 30 * 24 * 3600
"""Seconds that a browser keeps the cookie after its token has expired: it signs nobody in any more,
but `PasswordSignIn` knows the browser by it."""

logger = logging.getLogger(__name__)

_ERRORS: dict[int | str, dict[str, Any]] = {
    403: {"description": "The request comes from a page of another site"}
}
_SIGN_OUT_ERRORS = _ERRORS | {
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
        self._log = LimitedLog(logger)

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

    async def known(self, request: Request) -> Identity | NotYet | None:
        """Return the identity in the first valid token of the request; None without one.

        `NotYet` if nobody can say yet whether one is valid.
        """
        try:
            return await self(request)
        except NotYet as error:
            return error
        except HTTPException:
            return None

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
        credentials = self._rules.of_request(RequestHead.of_scope(request.scope))
        return (*credentials.explicit, *credentials.cookies)

    async def refuse_foreign_page(self, request: Request) -> None:
        """Raise 403 for a page elsewhere that would sign its visitor in or out; a dependency.

        Whatever credentials are in the request: a form with the attacker's password would leave the
        victim signed in as the attacker (decision 44).
        """
        head, peer = RequestHead.of_scope(request.scope), peer_of(request.scope)
        if not self._rules.is_foreign(head, peer):
            return
        worker_of(request).stats.sign_ins["foreign"] += 1
        self._log.warning(
            "foreign",
            "a page of Origin %.100r was refused to sign in or out: the Host is %.100r. If it is"
            " this edge's own page: see EDGE_TRUSTED_PROXIES and EDGE_ALLOWED_ORIGINS",
            head.headers.get("origin"),
            head.headers.get("host", ""),
        )
        raise HTTPException(403, "A page elsewhere cannot sign in or out")

    def accepts_cookie(self, request: Request, name: str) -> bool:
        """Return whether a cookie with this name signs in here."""
        head = RequestHead.of_scope(request.scope)
        try:
            self._tokens.first_valid(head.cookies(name), time.time())
        except NotKnownYet:
            return True
        except InvalidToken:
            return False
        return True


class SessionCookie:
    """The cookie that signing in sets and signing out clears.

    By TLS its name begins with `__Host-`. A browser that comes by TLS with a cookie of the name
    without it, from an earlier version or from a time without TLS, stays signed in by that one, and
    loses it with the next sign-in or sign-out.
    """

    def __init__(self, name: str, authentication: Authentication) -> None:
        self._name = name
        self._authentication = authentication

    def set(self, response: Response, request: Request, token: TokenReply) -> None:
        """Sign the browser in."""
        is_encrypted = _is_encrypted(request)
        response.set_cookie(
            self._name_for(request),
            token.access_token,
            max_age=token.expires_in + KNOWN_FOR_S,
            httponly=True,
            # Another site's page must not act with this cookie.
            samesite="strict",
            secure=is_encrypted,
        )
        if is_encrypted and self._name in request.cookies:
            self._delete(response, request, self._name)

    def names(self, request: Request) -> tuple[str, ...]:
        """Return the names of the cookies by which the browser is signed in.

        The common cookie too, if it signs in here: another edge on this host, with another secret,
        may have been meant by it.
        """
        names = [self._name_for(request)]
        if self._name in request.cookies:
            names.append(self._name)
        if self._authentication.accepts_cookie(request, COOKIE_NAME):
            names.append(COOKIE_NAME)
        return tuple(dict.fromkeys(names))

    def clear(self, response: Response, request: Request, names: Iterable[str]) -> None:
        """Sign the browser out."""
        for name in names:
            self._delete(response, request, name)

    def _name_for(self, request: Request) -> str:
        return HOST_PREFIX + self._name if _is_encrypted(request) else self._name

    @staticmethod
    def _delete(response: Response, request: Request, name: str) -> None:
        # Browsers take no cookie with the prefix that is not `Secure`, not even to delete it.
        secure = _is_encrypted(request)
        response.delete_cookie(name, secure=secure, httponly=True, samesite="strict")


def _is_encrypted(request: Request) -> bool:
    return request.url.scheme == "https"


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

        With `everywhere` all tokens of the users are revoked.
        """
        # Before its token is revoked, and signs in nobody any more.
        names = self._cookie.names(request)
        try:
            await self._revoke(self._authentication.identities(request), everywhere)
        except (RelayAway, SettingsError, WireError, NotKnownYet) as error:
            detail = f"Signed out here; the token stays valid: {error}"
            done = JSONResponse({"detail": detail}, 503, {"Retry-After": str(RETRY_S)})
        self._cookie.clear(done, request, names)
        return done

    async def _revoke(self, identities: list[Identity], everywhere: bool) -> None:
        for each in dict.fromkeys(
            Revocation(0, each.username)
            if everywhere
            else Revocation(0, each.username, each.token_id, each.expires_at * 1000)
            for each in identities
        ):
            await self._channel.revoke(each)


def sign_in_router(
    passwords: PasswordSignIn, authentication: Authentication, cookie: SessionCookie
) -> APIRouter:
    """Return the route under `/auth` where users sign in."""
    router = _own_pages_router(authentication, _ERRORS)

    @router.post(
        "/token",
        openapi_extra={"requestBody": REQUEST_BODY},
        responses=responses(400, 401, 413, 422, 429, 503),
    )
    async def sign_in(
        asked: Annotated[SignIn, Depends(read_sign_in)], request: Request, response: Response
    ) -> TokenReply:
        """Sign in with a password: an OAuth2 password form, or JSON. Also sets the cookie."""
        password = asked.password.get_secret_value()
        reply = await passwords.token(asked.username, password, request, asked.remember_me)
        cookie.set(response, request, reply)
        return reply

    return router


def identity_router(identify: Identify) -> APIRouter:
    """Return the route under `/auth` that tells who is signed in."""
    router = APIRouter(prefix="/auth", tags=["authentication"])

    @router.get("/me", responses=responses(401, 503))
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
    router = _own_pages_router(authentication, _SIGN_OUT_ERRORS)

    @router.post("/logout", status_code=204)
    async def sign_out_here(request: Request, everywhere: bool = False) -> Response:
        """Clear the cookie, and revoke the tokens of the request, or all of the user."""
        return await sign_out(request, Response(status_code=204), everywhere=everywhere)

    @router.get(
        "/logout",
        dependencies=[Depends(authentication)],
        responses={200: {"model": SignedOut}, **responses(401)},
    )
    async def sign_out_by_link(request: Request, everywhere: bool = False) -> Response:
        """The same, for front ends that sign out so, with a valid token.

        A page elsewhere can make a browser send this request, and must not end its session. The
        cookie is `SameSite=Strict`: browsers send it with no request of another site, which is
        answered 401 and clears nothing. A page of the same site is refused by `Sec-Fetch-Site`.
        """
        done = JSONResponse(SignedOut().model_dump())
        return await sign_out(request, done, everywhere=everywhere)

    return router


def _own_pages_router(
    authentication: Authentication, errors: dict[int | str, dict[str, Any]]
) -> APIRouter:
    """Return a router for routes under `/auth` that no page elsewhere may use."""
    return APIRouter(
        prefix="/auth",
        tags=["authentication"],
        dependencies=[Depends(authentication.refuse_foreign_page)],
        responses=errors,
    )
