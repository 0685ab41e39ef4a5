"""Signing in over HTTP: token, cookie, who am I."""

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
"""Each takes 64 MiB and tens of milliseconds of CPU."""


class TokenReply(BaseModel):
    """What OAuth2 clients expect of a token endpoint."""

    access_token: str
    token_type: str = "bearer"
    expires_in: int
    """Seconds."""


class WhoAmI(BaseModel):
    """Whom the request's token speaks for."""

    username: str
    role: str
    expires_at: int
    """Unix time in seconds."""


class Authentication:
    """Finds out who sent a request; a FastAPI dependency."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def __call__(self, request: Request) -> Identity:
        """Return whom the bearer token or the cookie speaks for, or answer 401."""
        authorization = request.headers.get("authorization")
        token = request.cookies.get(COOKIE_NAME, "")
        if authorization is not None:
            token = bearer_token(authorization)
        try:
            return self._tokens.verify(token, time.time())
        except InvalidToken:
            raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"}) from None


def auth_router(
    tokens: Tokens, users: UsersFile, authentication: Authentication, token_ttl_s: int
) -> APIRouter:
    """Return the routes under `/auth`."""
    router = APIRouter(prefix="/auth", tags=["authentication"])
    verifications = asyncio.Semaphore(MAX_CONCURRENT_VERIFICATIONS)

    @router.post("/token")
    async def sign_in(
        form: Annotated[OAuth2PasswordRequestForm, Depends()], request: Request, response: Response
    ) -> TokenReply:
        """Sign in with a password (OAuth2 password form). Also sets the cookie."""
        try:
            async with verifications:
                user = await asyncio.to_thread(users.verify, form.username, form.password)
        except UsersError:
            raise HTTPException(503, "The users file cannot be read") from None
        if user is None:
            raise HTTPException(
                401, "Incorrect username or password", {"WWW-Authenticate": "Bearer"}
            )
        token = tokens.issue(form.username, user.role, int(time.time()) + token_ttl_s)
        response.set_cookie(
            COOKIE_NAME,
            token,
            max_age=token_ttl_s,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        response.headers["Cache-Control"] = "no-store"
        return TokenReply(access_token=token, expires_in=token_ttl_s)

    @router.post("/logout", status_code=204)
    async def sign_out(response: Response) -> None:
        """Clear the cookie. The token itself stays valid until it expires."""
        response.delete_cookie(COOKIE_NAME, httponly=True, samesite="strict")

    @router.get("/me")
    async def who_am_i(identity: Annotated[Identity, Depends(authentication)]) -> WhoAmI:
        """Tell who is signed in."""
        return WhoAmI(
            username=identity.username, role=identity.role, expires_at=identity.expires_at
        )

    return router
