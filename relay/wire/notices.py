"""Notices: messages from the relay to an emitter that answer no request (protocol section 4).

A notice is a msgpack map with `op` and without `id`, and names the emitter epoch it concerns.
Notices are packed and read by hand: one is sent for every batch, and a model would be slow.
"""

from typing import NamedTuple

import msgpack

from relay.wire.control import unpack_map
from relay.wire.control_message import MAX_PROOF_BYTES
from relay.wire.demand import DIGEST_BYTES
from relay.wire.errors import InvalidFrame


class Acknowledged(NamedTuple):
    """Every event up to `sequence` is in the journal."""

    epoch: int
    sequence: int
    proof: bytes | None = None
    """For the emitter's next hello; None from a relay that gives none."""


class Resend(NamedTuple):
    """The event after `sequence` is missing: send it and all later ones again."""

    epoch: int
    sequence: int


Notice = Acknowledged | Resend


class DemandNotice(NamedTuple):
    """The watched live topics changed from the version `after` to `version` of the relay's demand.

    `watch` and `unwatch` are digests (`relay.wire.demand`). An emitter with another version than
    `after` asks with `watched`; if both are equal, the notice only names the version.
    """

    epoch: int
    """Of the demand, not of the emitter."""
    after: int
    version: int
    watch: bytes
    unwatch: bytes


class ForbiddenNotice(NamedTuple):
    """The event `sequence` was not published: the emitter has no right to its `field`."""

    epoch: int
    sequence: int
    topic: str
    field: str


DEMAND_OP = "demand"
FORBIDDEN_OP = "forbidden"
_OPS: dict[str, type[Notice]] = {"acknowledged": Acknowledged, "resend": Resend}
_NAMES = {kind: op for op, kind in _OPS.items()}


def pack_notice(notice: Notice) -> bytes:
    """Return the msgpack bytes of `notice`."""
    fields = {"op": _NAMES[type(notice)], "epoch": notice.epoch, "sequence": notice.sequence}
    if isinstance(notice, Acknowledged) and notice.proof is not None:
        fields["proof"] = notice.proof
    packed: bytes = msgpack.packb(fields)
    return packed


def pack_demand_notice(notice: DemandNotice) -> bytes:
    """Return the msgpack bytes of `notice`, the same for every emitter."""
    packed: bytes = msgpack.packb({"op": DEMAND_OP, **notice._asdict()})
    return packed


def pack_forbidden_notice(notice: ForbiddenNotice) -> bytes:
    """Return the msgpack bytes of `notice`."""
    packed: bytes = msgpack.packb({"op": FORBIDDEN_OP, **notice._asdict()})
    return packed


def unpack_notice(frame: bytes) -> Notice | DemandNotice | ForbiddenNotice | None:
    """Return the notice in `frame`, or None if it is a reply. Raises `InvalidFrame`."""
    fields = unpack_map(frame)
    if "id" in fields:
        return None
    op = fields.get("op")
    if op == DEMAND_OP:
        return DemandNotice(
            _unsigned(fields, "epoch"),
            _unsigned(fields, "after"),
            _unsigned(fields, "version"),
            _digests(fields, "watch"),
            _digests(fields, "unwatch"),
        )
    if op == FORBIDDEN_OP:
        return ForbiddenNotice(
            _unsigned(fields, "epoch"),
            _unsigned(fields, "sequence"),
            _text(fields, "topic"),
            _text(fields, "field"),
        )
    kind = _OPS.get(op) if isinstance(op, str) else None
    if kind is None:
        raise InvalidFrame("a message without an id is a notice, and has a known op")
    epoch, sequence = _unsigned(fields, "epoch"), _unsigned(fields, "sequence")
    if kind is Acknowledged:
        return Acknowledged(epoch, sequence, _proof(fields))
    return kind(epoch, sequence)


def _digests(fields: dict[object, object], name: str) -> bytes:
    value = fields.get(name)
    if not isinstance(value, bytes) or len(value) % DIGEST_BYTES:
        raise InvalidFrame(f"{name}: must be digests of {DIGEST_BYTES} bytes each")
    return value


def _proof(fields: dict[object, object]) -> bytes | None:
    value = fields.get("proof")
    if value is None or (isinstance(value, bytes) and len(value) <= MAX_PROOF_BYTES):
        return value
    raise InvalidFrame(f"proof: must be at most {MAX_PROOF_BYTES} bytes")


def _text(fields: dict[object, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidFrame(f"{name}: must be text")
    return value


def _unsigned(fields: dict[object, object], name: str) -> int:
    value = fields.get(name)
    # msgpack has no greater integers than those of 64 bits.
    if type(value) is not int or value < 0:
        raise InvalidFrame(f"{name}: must be an unsigned integer of 64 bits")
    return value
