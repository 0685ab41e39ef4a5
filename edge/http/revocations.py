"""`POST /api/revocations`: ends tokens before they expire, for operators."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge.channel import Channel, RelayAway
from edge.core.identity.access import NEVER, Identity
from edge.http.auth import Identify
from edge.http.permissions import Permissions
from relay.shared.settings_error import SettingsError
from relay.wire.errors import WireError
from relay.wire.kinds import ADMIN_ROLE
from relay.wire.revocations import MAX_TOKEN_ID_CHARS, Revocation
from relay.wire.usernames import MAX_NAME_CHARS, normal_username

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body cannot be read"},
    401: {"description": "Not authenticated"},
    403: {
        "description": "The caller lacks the role admin, or is a page of another site, or elsewhere"
        " than EDGE_ADMIN_ACCESS allows"
    },
    422: {"description": "A value is wrong"},
    503: {"description": "The relay is away: the detail says whether it gets the command later"},
}
_MAX_SECONDS = NEVER // 1000
Seconds = Annotated[float | None, Field(ge=0, le=_MAX_SECONDS, allow_inf_nan=False)]


class RequestedRevocation(BaseModel):
    """The tokens of a user, one token, or all tokens."""

    model_config = ConfigDict(extra="forbid")

    username: Annotated[str | None, Field(min_length=1, max_length=MAX_NAME_CHARS)] = None
    token_id: Annotated[str | None, Field(min_length=1, max_length=MAX_TOKEN_ID_CHARS)] = None
    """The `jti` of one token."""
    all: bool = False
    before: Seconds = None
    """Unix time: tokens that were issued until then; without it, until now."""
    expires_at: Seconds = None
    """Unix time: when the one token expires; it is remembered for so long."""

    @model_validator(mode="after")
    def _name_one(self) -> Self:
        if (self.username is not None) + (self.token_id is not None) + self.all != 1:
            raise ValueError("name one of username, token_id and all")
        if self.token_id is not None and self.before is not None:
            raise ValueError("before concerns the tokens of a user, or all")
        if self.token_id is None and self.expires_at is not None:
            raise ValueError("expires_at concerns one token")
        return self

    def revocation(self) -> Revocation:
        """Return it as edges tell it each other."""
        return Revocation(
            0 if self.before is None else int(self.before * 1000),
            None if self.username is None else normal_username(self.username),
            self.token_id,
            None if self.expires_at is None else int(self.expires_at * 1000),
        )


def revocations_router(
    identify: Identify, permissions: Permissions, channel: Channel, operators: Any
) -> APIRouter:
    """Return the route; the revocation goes to all workers by `channel`.

    `operators` is the dependency that refuses others by where they are.
    """
    router = APIRouter(prefix="/api", tags=["operations"], responses=ERRORS)

    @router.post(
        "/revocations",
        status_code=204,
        dependencies=[operators, Depends(permissions.refuse_foreign_page)],
    )
    async def revoke(
        identity: Annotated[Identity, Depends(identify)], asked: RequestedRevocation
    ) -> None:
        """Refuse the tokens from now on, and close what was opened with them, on all edges.

        For the role admin. It is answered when the relay has the revocation; workers act on it
        within a second.
        """
        if identity.role != ADMIN_ROLE:
            raise HTTPException(403, f"The role {ADMIN_ROLE!r} is required")
        try:
            await channel.revoke(asked.revocation())
        except WireError as error:
            raise HTTPException(422, str(error)) from None
        except (RelayAway, SettingsError) as error:
            raise HTTPException(503, str(error)) from None

    return router
