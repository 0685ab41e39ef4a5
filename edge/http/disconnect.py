"""`POST /api/users/{username}/disconnect`: ends the connections of a user, for operators."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, HTTPException
from pydantic import AfterValidator, BaseModel, Field

from edge.channel import Channel, RelayAway
from edge.core.identity.access import Identity
from edge.core.websocket.close_codes import MAX_REASON_BYTES, Close, CloseCode
from edge.http.auth import Identify
from edge.http.permissions import Permissions
from relay.shared.settings_error import SettingsError
from relay.wire.errors import WireError
from relay.wire.kinds import ADMIN_ROLE
from relay.wire.usernames import MAX_NAME_CHARS

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body cannot be read"},
    401: {"description": "Not authenticated"},
    403: {
        "description": "The caller lacks the role admin, or is a page of another site, or elsewhere"
        " than EDGE_ADMIN_ACCESS allows"
    },
    404: {"description": "The path has no name of a user"},
    422: {"description": "A value is wrong"},
    503: {"description": "The relay is away: the detail says whether it gets the command later"},
}


def _check_reason(reason: str) -> str:
    if len(reason.encode(errors="surrogatepass")) > MAX_REASON_BYTES:
        raise ValueError(f"must have at most {MAX_REASON_BYTES} bytes")
    return reason


class Disconnect(BaseModel):
    """The close frame that the clients get."""

    code: int = Field(default=CloseCode.DISCONNECTED.code, ge=4000, le=4999)
    reason: Annotated[str, AfterValidator(_check_reason)] = CloseCode.DISCONNECTED.meaning


def disconnect_router(
    identify: Identify, permissions: Permissions, channel: Channel, operators: Any
) -> APIRouter:
    """Return the route; the command goes to all workers by `channel`.

    `operators` is the dependency that refuses others by where they are.
    """
    router = APIRouter(prefix="/api/users", tags=["operations"], responses=ERRORS)

    @router.post(
        "/{username:path}/disconnect",
        status_code=204,
        dependencies=[operators, Depends(permissions.refuse_foreign_page)],
    )
    async def disconnect(
        identity: Annotated[Identity, Depends(identify)],
        username: str,
        frame: Annotated[Disconnect | None, Body()] = None,
    ) -> None:
        """Close the present connections of the user, on all workers of all edges.

        For the role admin. It is answered when the relay has the command. Tokens of the user stay
        valid: connections that are made afterwards stay.
        """
        if identity.role != ADMIN_ROLE:
            raise HTTPException(403, f"The role {ADMIN_ROLE!r} is required")
        if not 1 <= len(username) <= MAX_NAME_CHARS:
            raise HTTPException(422, f"username: must have 1 to {MAX_NAME_CHARS} characters")
        wanted = frame or Disconnect()
        try:
            await channel.disconnect(username, Close(wanted.code, wanted.reason))
        except WireError as error:
            raise HTTPException(422, str(error)) from None
        except (RelayAway, SettingsError) as error:
            raise HTTPException(503, str(error)) from None

    return router
