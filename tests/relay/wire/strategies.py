"""Hypothesis strategies for messages of the wire, valid and invalid."""

from typing import Any

import msgpack
from hypothesis import strategies as st

from relay.wire.envelope import MAX_SAFE_INT, Envelope
from relay.wire.errors import WireError
from relay.wire.topics import MAX_TOPIC_BYTES, parse_topic

KINDS = ("event", "task", "resource-monitor", "mine")

any_text = st.text(st.characters(exclude_categories=()))
"""Any str, lone surrogates and control characters included."""
utf8_text = st.text(st.characters(codec="utf-8"))


def _is_topic(text: str) -> bool:
    try:
        parse_topic(text)
    except WireError:
        return False
    return True


kinds = st.sampled_from(KINDS)
topics = (
    st.builds(
        "{}:{}".format,
        st.from_regex(r"[a-cxyz][a-cxyz019_-]{0,20}", fullmatch=True),
        st.text(
            st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="*"),
            min_size=1,
        ),
    )
    .filter(lambda text: len(text.encode()) <= MAX_TOPIC_BYTES)
    .filter(_is_topic)
)
"""Valid topics."""

_plain = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INT, MAX_SAFE_INT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | utf8_text
)
json_values = st.recursive(
    _plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(utf8_text, inner, max_size=4),
    max_leaves=12,
)
payloads = st.dictionaries(utf8_text, json_values, max_size=5)
"""Data that an envelope may carry."""

_labels = st.text(st.characters(codec="utf-8"), min_size=1, max_size=255)
envelopes = st.builds(
    Envelope,
    type=_labels,
    data=payloads,
    username=_labels,
    source=st.text(st.characters(codec="utf-8"), max_size=255),
    emitted_at=st.integers(0, 2**53),
    id=_labels,
)
"""Valid envelopes of every kind, all of them addressed."""

_msgpack_leaves: st.SearchStrategy[Any] = (
    _plain
    | st.floats()
    | st.binary(max_size=40)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=8))
    | st.builds(msgpack.Timestamp, st.integers(0, 2**34 - 1), st.integers(0, 10**9 - 1))
)
_msgpack_keys: st.SearchStrategy[Any] = (
    utf8_text | st.binary(max_size=8) | st.integers(-5, 2**64 - 1) | st.none() | st.booleans()
)
msgpack_values: st.SearchStrategy[Any] = st.recursive(
    _msgpack_leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_msgpack_keys, inner, max_size=4),
    max_leaves=12,
)
"""Values that msgpack can carry, whether JSON can or not."""


def _nested(levels: int, kind: bytes, leaf: bytes) -> bytes:
    return kind * levels + leaf


deep_frames = st.builds(
    _nested,
    st.integers(1, 3000),
    st.sampled_from([b"\x91", b"\x81\xa1n", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01", b"\x81"]),
    st.sampled_from([b"\xc0", b"", b"\x80", b"\xd4\x05x"]),
)
"""Frames that consist of nothing but nesting."""

field_names = st.sampled_from(
    [
        "type",
        "data",
        "username",
        "source",
        "emitted_at",
        "id",
        "op",
        "protocol",
        "role",
        "name",
        "emitter_id",
        "emitter_epoch",
        "acknowledged",
        "stream",
        "after",
        "limit",
        "counters",
        "prefix",
        "status",
        "epoch",
        "journaled_kinds",
        "tips",
        "low",
        "tip",
        "sequence",
        "started_at",
        "journaling",
        "heartbeat_s",
        "items",
        "stats",
        "code",
        "message",
    ]
)


def messages_like(*examples: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Maps in msgpack that resemble one of `examples`: some fields replaced, added or removed."""

    def distort(example: dict[str, Any], changes: dict[str, Any], left_out: set[str]) -> bytes:
        fields = {k: v for k, v in (example | changes).items() if k not in left_out}
        packed: bytes = msgpack.packb(fields)
        return packed

    return st.builds(
        distort,
        st.sampled_from(examples),
        st.dictionaries(field_names, msgpack_values, max_size=3),
        st.sets(field_names, max_size=2),
    )


def frames_like(*examples: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Any bytes, any msgpack, deep nesting, and near misses of `examples`, whole and cut."""
    whole = (
        st.binary(max_size=300)
        | msgpack_values.map(msgpack.packb)
        | deep_frames
        | messages_like(*examples)
    )
    return whole | st.builds(lambda frame, size: frame[:size], whole, st.integers(0, 200))
