"""Sign-in over HTTP: the routes under `/auth`, and the dependency that authenticates requests."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import BaseModel

from edge.core.identity.access import Identity
from edge.core.identity.credentials import COOKIE_NAME, bearer_token
from edge.core.identity.tokens import InvalidToken, Tokens
from edge.http.users import UsersError, UsersFile

MAX_CONCURRENT_VERIFICATIONS = 2
"""Password checks at a time: each takes 64 MiB and tens of milliseconds of CPU."""


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
    """Authenticates a request by its bearer token or cookie; a FastAPI dependency."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def __call__(self, request: Request) -> Identity:
        """Return the identity in the bearer token or the cookie, or answer 401."""
        authorization = request.headers.get("authorization")
        token = request.cookies.get(COOKIE_NAME, "")
        if authorization is not None:
            token = bearer_token(authorization)
        try:
            return self._tokens.verify(token, time.time())
        except InvalidToken:
            raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"}) from None


class PasswordSignIn:
    """Checks passwords and issues tokens."""

    def __init__(self, tokens: Tokens, users: UsersFile, token_ttl_s: int) -> None:
        self._tokens = tokens
        self._users = users
        self._token_ttl_s = token_ttl_s
        self._verifications = asyncio.Semaphore(MAX_CONCURRENT_VERIFICATIONS)

    async def token(self, username: str, password: str) -> TokenReply:
        """Return a token for the user, or answer 401 or 503."""
        try:
            # In a thread, because argon2 takes long and releases the GIL.
            async with self._verifications:
                user = await asyncio.to_thread(self._users.verify, username, password)
        except UsersError:
            raise HTTPException(503, "The users file cannot be read") from None
        if user is None:
            raise HTTPException(
                401, "Incorrect username or password", {"WWW-Authenticate": "Bearer"}
            )
        token = self._tokens.issue(username, user.role, int(time.time()) + self._token_ttl_s)
        return TokenReply(access_token=token, expires_in=self._token_ttl_s)


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
        reply = await passwords.token(form.username, form.password)
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
