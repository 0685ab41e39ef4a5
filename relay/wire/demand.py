"""The words of the demand: which live topics somebody watches, in compact form (section 4).

A watched topic travels as a digest of 8 bytes: the BLAKE2b digest of its UTF-8 bytes, read as a
big-endian number. Two topics with one digest are watched together, which only costs a sample.
"""

import sys
from array import array
from collections.abc import Iterable
from hashlib import blake2b

from relay.wire.errors import InvalidFrame

DIGEST_BYTES = 8

FILTERED_PREFIX = b"!filtered:"
"""A subscriber adds a subscription to `!filtered:` and a prefix to its subscription to the prefix,
if it does not mean every topic that starts so: the demand says which of them it means."""

MAX_DEMAND_TOPICS = 262_144
"""The most watched topics of one edge, 2 MiB. An edge with more subscribes without the hint."""
MAX_CHANGES = 4_096
"""The most changes that one `demand` request carries."""


def topic_digest(topic: str) -> int:
    """Return the digest of `topic`."""
    return int.from_bytes(blake2b(topic.encode(), digest_size=DIGEST_BYTES).digest(), "big")


def pack_digests(digests: Iterable[int]) -> bytes:
    """Return `digests`, 8 bytes each, big-endian."""
    packed = array("Q", digests)
    if sys.byteorder == "little":
        packed.byteswap()
    return packed.tobytes()


def unpack_digests(packed: bytes) -> "array[int]":
    """Return the digests in `packed`. Raises `InvalidFrame`."""
    if len(packed) % DIGEST_BYTES:
        raise InvalidFrame(f"digests have {DIGEST_BYTES} bytes each")
    digests = array("Q", packed)
    if sys.byteorder == "little":
        digests.byteswap()
    return digests
