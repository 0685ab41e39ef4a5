"""`Parser`: a function that takes bytes from strangers, and how its inputs are made."""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from relay.wire.errors import WireError
from relay.zmtp.errors import ZmtpError
from tests.fuzz.changes import changed_msgpack

Change = Callable[[Random, bytes, Sequence[bytes]], bytes]


class Fault(Exception):  # noqa: N818
    """A parser failed; the text says with which input."""


class Parser(NamedTuple):
    """A function, the inputs to begin with, and how they are changed."""

    parse: Callable[[bytes], object]
    """Raises one of `refusals`; any other exception is a fault of ours."""
    samples: Sequence[bytes]
    change: Change = changed_msgpack
    refusals: tuple[type[Exception], ...] = (WireError, ZmtpError)
