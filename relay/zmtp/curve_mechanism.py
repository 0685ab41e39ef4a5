"""The mechanism `CURVE`: both sides prove their keys, and every frame is encrypted (RFC 26).

The client knows the server's public key before; the server learns the client's from `INITIATE`, and
asks `admits` before it answers. For each connection both make keys of their own, so that traffic
cannot be read later with the long-term keys.

RFC 26 keeps no state of a client before `INITIATE`: the state travels in the cookie. Here it stays
with the connection, whose number and time are bounded, and the cookie is random.
"""

import secrets
from collections.abc import Callable

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from relay.zmtp.boxes import BOX_BYTES, KEY_BYTES, NONCE_BYTES, Boxes
from relay.zmtp.errors import ZmtpError
from relay.zmtp.frames import pack_command
from relay.zmtp.mechanism import HandshakeStep, check_metadata, our_metadata, refusal

COOKIE_BYTES = 96
VOUCH_BYTES = 96
HELLO_BYTES = 194
"""Version, padding, key, nonce and box of `HELLO`, without its name."""
HELLO_VERSION = b"\1\0"
INITIATE_BYTES = COOKIE_BYTES + NONCE_BYTES + BOX_BYTES + KEY_BYTES + VOUCH_BYTES
"""At least: of `INITIATE` without its name and without metadata."""

Admits = Callable[[bytes], bool]
"""Asked with the public key of a client, whether it may connect."""


class CurveMechanism:
    """One handshake, and the traffic after it; see `Mechanism`."""

    name = b"CURVE"
    is_encrypted = True

    def __init__(self, socket_type: bytes, secret_key: bytes, admits: Admits) -> None:
        self._socket_type = socket_type
        self._secret_key = secret_key
        self._admits = admits
        self._public, self._secret = sodium.crypto_box_keypair()
        """Of this connection alone."""
        self._client_public = b""
        """The client's for this connection alone."""
        self._cookie = b""
        self._hello_nonce = 0
        self._boxes: Boxes | None = None
        """With the key of the traffic, once it is known."""

    def handle(self, name: bytes, data: bytes) -> HandshakeStep:
        """Take `HELLO` or `INITIATE`."""
        try:
            if name == b"HELLO" and not self._cookie:
                return HandshakeStep(self._welcome(data))
            if name == b"INITIATE" and self._cookie:
                return HandshakeStep(self._ready(data), is_done=True)
        except (CryptoError, RuntimeError):
            # libsodium refuses keys with which every secret would be the same, too.
            raise _wrong("a box cannot be opened; does it have the relay's public key?") from None
        raise _wrong("an unexpected command")

    def seal(self, packed: bytes) -> bytes:
        """See `Mechanism`."""
        assert self._boxes is not None, "the handshake is over"
        return self._boxes.seal(packed)

    def open(self, frames: list[list[bytes]]) -> list[tuple[int, bytes]]:
        """See `Mechanism`."""
        assert self._boxes is not None, "the handshake is over"
        return self._boxes.open(frames)

    def _welcome(self, data: bytes) -> bytes:
        if len(data) != HELLO_BYTES or data[:2] != HELLO_VERSION:
            raise _wrong("HELLO has another form")
        self._client_public, nonce, box = data[74:106], data[106:114], data[114:]
        self._hello_nonce = int.from_bytes(nonce, "big")
        sodium.crypto_box_open(
            box, b"CurveZMQHELLO---" + nonce, self._client_public, self._secret_key
        )
        self._cookie = secrets.token_bytes(COOKIE_BYTES)
        own_nonce = secrets.token_bytes(16)
        text = self._public + self._cookie
        welcome = sodium.crypto_box(
            text, b"WELCOME-" + own_nonce, self._client_public, self._secret_key
        )
        return pack_command(b"WELCOME", own_nonce + welcome)

    def _ready(self, data: bytes) -> bytes:
        if len(data) < INITIATE_BYTES:
            raise _wrong("INITIATE is too short")
        cookie, rest = data[:COOKIE_BYTES], data[COOKIE_BYTES:]
        if not secrets.compare_digest(cookie, self._cookie):
            raise _wrong("INITIATE has another cookie")
        shared = sodium.crypto_box_beforenm(self._client_public, self._secret)
        boxes = Boxes(shared, self._hello_nonce)
        nonce, box = rest[:NONCE_BYTES], rest[NONCE_BYTES:]
        text = boxes.open_handshake(box, b"CurveZMQINITIATE", nonce)
        client_key = text[:KEY_BYTES]
        vouch = text[KEY_BYTES : KEY_BYTES + VOUCH_BYTES]
        self._check_vouch(client_key, vouch)
        check_metadata(text[KEY_BYTES + VOUCH_BYTES :], self._socket_type)
        if not self._admits(client_key):
            raise refusal("not_admitted", "its public key is not in the list of peers")
        self._boxes = boxes
        metadata = our_metadata(self._socket_type)
        return pack_command(b"READY", boxes.seal_handshake(metadata, b"CurveZMQREADY---"))

    def _check_vouch(self, client_key: bytes, vouch: bytes) -> None:
        """Check that the owner of `client_key` has made the key of this connection, for us."""
        text = sodium.crypto_box_open(
            vouch[16:], b"VOUCH---" + vouch[:16], client_key, self._secret
        )
        server_key = sodium.crypto_scalarmult_base(self._secret_key)
        if not secrets.compare_digest(text, self._client_public + server_key):
            raise _wrong("the vouch is for another connection")


def _wrong(text: str) -> ZmtpError:
    return refusal("invalid_handshake", text)
