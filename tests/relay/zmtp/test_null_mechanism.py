"""The handshake without encryption."""

import pytest

from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import pack_metadata
from relay.zmtp.null_mechanism import NullMechanism
from tests.support.zmtp_peer import ready

SUB = pack_metadata([(b"Socket-Type", b"SUB")])


def test_ready_is_answered_by_ready() -> None:
    step = NullMechanism(b"XPUB").handle(b"READY", SUB)
    assert step.is_done
    assert step.output == ready(b"XPUB")


@pytest.mark.parametrize("name", [b"HELLO", b"SUBSCRIBE", b"PING", b"ERROR", b"", b"ready"])
def test_another_command_ends_the_handshake(name: bytes) -> None:
    with pytest.raises(ZmtpError) as refused:
        NullMechanism(b"XPUB").handle(name, SUB)
    assert refused.value.reason == "invalid_handshake"
    assert refused.value.farewell


def test_messages_go_out_as_they_are() -> None:
    mechanism = NullMechanism(b"XPUB")
    assert not mechanism.is_encrypted
    assert mechanism.seal(b"\0\1a") == b"\0\1a"
    with pytest.raises(ZmtpError):
        mechanism.open([[b"anything"]])
