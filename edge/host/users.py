"""The users of an application in requests to the HTTP API, as FastAPI dependencies."""

from typing import Annotated, Any

from fastapi import Depends, HTTPException

from edge.core.identity.access import Identity
from edge.core.identity.revocations import Revocations
from edge.host.functions import AppFunction, identity_of
from edge.http.auth import Identify
from edge.http.operators import Known


def user_dependencies(
    authenticate: AppFunction, revocations: Revocations
) -> tuple[Identify, Known]:
    """Return the dependency that answers 401 without a user, and the one that returns None then."""

    async def known(found: Annotated[Any, Depends(authenticate)]) -> Identity | None:
        identity = identity_of(found)
        return None if identity is None or revocations.refuses(identity) else identity

    async def user(identity: Annotated[Identity | None, Depends(known)]) -> Identity:
        if identity is None:
            raise HTTPException(401, "Not authenticated")
        return identity

    return user, known
