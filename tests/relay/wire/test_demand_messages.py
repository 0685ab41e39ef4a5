"""Digests in the messages of the demand: whole ones, and no more than a message may have."""

import pytest
from pydantic import ValidationError

from relay.wire.demand import DIGEST_BYTES, MAX_CHANGES
from relay.wire.demand_messages import DemandRequest, WatchedReply


def demand(watch: bytes) -> DemandRequest:
    return DemandRequest(id=1, edge=bytes(16), after=0, version=1, watch=watch)


def test_whole_digests_are_taken_up_to_the_bound() -> None:
    assert demand(b"").watch == b""
    full = bytes(DIGEST_BYTES * MAX_CHANGES)
    assert demand(full).watch == full


@pytest.mark.parametrize("size", [1, DIGEST_BYTES - 1, DIGEST_BYTES * (MAX_CHANGES + 1)])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValidationError):
        demand(bytes(size))


def test_a_page_has_whole_digests() -> None:
    with pytest.raises(ValidationError):
        WatchedReply(id=1, epoch=1, after=0, version=1, snapshot=True, watch=b"x")
