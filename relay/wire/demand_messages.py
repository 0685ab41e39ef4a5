"""The messages of the control socket about the demand (protocol section 4)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from relay.wire.control_message import MAX_PAGE_BYTES, ControlMessage, Unsigned
from relay.wire.demand import DIGEST_BYTES, MAX_CHANGES


def _check_digests(packed: bytes) -> bytes:
    if len(packed) % DIGEST_BYTES:
        raise ValueError(f"digests have {DIGEST_BYTES} bytes each")
    return packed


Digests = Annotated[
    bytes, Field(max_length=DIGEST_BYTES * MAX_CHANGES), AfterValidator(_check_digests)
]
DigestPage = Annotated[bytes, Field(max_length=MAX_PAGE_BYTES), AfterValidator(_check_digests)]


class DemandRequest(ControlMessage):
    """Reports which live topics the clients of one worker of an edge watch, as digests.

    The report changes the worker's demand from its version `after` to `version`; `after` 0 begins
    anew, with no topic watched. A report without a change renews the lease of the earlier ones.
    """

    op: Literal["demand"] = "demand"
    id: Unsigned
    edge: Annotated[bytes, Field(min_length=16, max_length=16)]
    """A random number of the worker, the same on every connection."""
    after: Unsigned
    version: Unsigned
    watch: Digests = b""
    unwatch: Digests = b""


class WatchedRequest(ControlMessage):
    """Asks which live topics are watched: the changes after `after`, or all of them in pages.

    `epoch` and `after` are those of the last reply or notice, 0 before the first. `cursor` is the
    `next` of the page before.
    """

    op: Literal["watched"] = "watched"
    id: Unsigned
    epoch: Unsigned
    after: Unsigned
    cursor: Unsigned | None = None


class DemandReply(ControlMessage):
    """The version that the relay knows of the worker's demand.

    If it is not the version of the request, the relay lacks reports, and the edge begins anew.
    """

    id: Unsigned
    status: Literal["success"] = "success"
    version: Unsigned


class WatchedReply(ControlMessage):
    """The watched topics: changes after the version `after`, or a page of all of them.

    A page is told from changes by `snapshot`. The first one says from which version on changes
    must be requested after the last one, which has no `next`.
    """

    id: Unsigned
    status: Literal["success"] = "success"
    epoch: Unsigned
    after: Unsigned
    version: Unsigned
    snapshot: bool
    watch: DigestPage
    unwatch: DigestPage = b""
    next: Unsigned | None = None
