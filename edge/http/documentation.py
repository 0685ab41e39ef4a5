"""The roads of authentication, as the API's documentation (OpenAPI) has them."""

from typing import Any

from fastapi import Security
from fastapi.security import APIKeyCookie, APIKeyQuery, HTTPBearer, OAuth2PasswordBearer

from edge.config import EdgeSettings


def credentials_of(settings: EdgeSettings) -> list[Any]:
    """Return dependencies that document the credentials of a request, any of which is enough.

    They decide nothing: `Authentication` does.
    """
    schemes = (
        HTTPBearer(auto_error=False, description="A token, from signing in or `event-edge token`"),
        OAuth2PasswordBearer(tokenUrl="auth/token", auto_error=False),
        APIKeyCookie(name=settings.own_cookie, auto_error=False, description="Set by signing in"),
        APIKeyQuery(
            name="token", auto_error=False, description="The token, where no header can be sent"
        ),
    )
    return [Security(scheme) for scheme in schemes]
