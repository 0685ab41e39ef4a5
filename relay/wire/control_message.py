"""The base of all messages of the control socket (protocol section 4)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_PAGE_BYTES = 1024 * 1024
"""For the items of a reply, unless its first item is larger."""

MAX_PROOF_BYTES = 64
"""For the relay's proof of an acknowledgement. To its emitter it is opaque."""

Unsigned = Annotated[int, Field(ge=0, le=2**64 - 1)]


class ControlMessage(BaseModel):
    """A msgpack map. Unknown fields are ignored: a later version of either side may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
