"""`MethodCalls`: the results of calls, as the relay passes them on."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgpack
import pytest

from edge.core.identity.access import Identity
from edge.upstream.calls import CallError, MethodCalls
from edge.upstream.socket import RelaySocket
from relay.wire.calls import CallRequest, ResultNotice, pack_call_notice
from relay.wire.control import unpack_request

ALICE = Identity("alice", "user", 0)


class AnsweringSocket:
    """Has each call answered with `result`, in msgpack."""

    def __init__(self, result: bytes) -> None:
        self._result = result
        self._frames: list[bytes] = []
        self._read: Callable[[], None] = lambda: None

    def add_reader(self, callback: Callable[[], None]) -> None:
        self._read = callback

    def send(self, frame: bytes) -> bool:
        request = unpack_request(frame)
        assert isinstance(request, CallRequest)
        self._frames.append(pack_call_notice(ResultNotice(request.id, self._result, None)))
        asyncio.get_running_loop().call_soon(self._read)
        return True

    def messages(self, max_count: int, max_bytes: int) -> Iterator[list[bytes]]:
        while self._frames:
            yield [self._frames.pop(0)]


def called(result: bytes) -> Any:
    async def call() -> Any:
        socket = cast(RelaySocket, AnsweringSocket(result))
        calls = MethodCalls(asyncio.get_running_loop(), lambda: socket)
        return await calls.call("m", None, ALICE, 60.0)

    return asyncio.run(call())


def test_a_result_comes_back() -> None:
    assert called(msgpack.packb({"a": [1, None]})) == {"a": [1, None]}


@pytest.mark.parametrize("result", [b"", b"\xc1", b"\xa5abc", b"\x00\x00", msgpack.packb({1: 2})])
def test_a_result_that_cannot_be_read_is_told_at_once(result: bytes) -> None:
    with pytest.raises(CallError) as raised:
        called(result)
    assert (raised.value.code, str(raised.value)) == ("failed", "the answer cannot be read")
