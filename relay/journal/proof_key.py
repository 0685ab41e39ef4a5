"""The secret key of a journal, by which its relay knows its own acknowledgements again.

It is in `meta`: a copy and an older file that was put back have it too, and a new journal has
another one.
"""

import re
import secrets
from collections.abc import Mapping

from relay.core.proofs import KEY_BYTES

_NAME = "proof_key"
_STORED = re.compile(f"[0-9a-f]{{{2 * KEY_BYTES}}}")


def key_of(meta: Mapping[str, object]) -> bytes:
    """Return the key in `meta`, or a new one if none is there that can be read.

    With a new key, emitters get proofs with their next acknowledgements.
    """
    found = meta.get(_NAME)
    if isinstance(found, str) and _STORED.fullmatch(found):
        return bytes.fromhex(found)
    return secrets.token_bytes(KEY_BYTES)


def meta_of_key(key: bytes) -> dict[str, str]:
    """Return `key` as `meta` holds it."""
    return {_NAME: key.hex()}
