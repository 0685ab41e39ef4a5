"""The few packets of MQTT 3.1.1 that the benchmark needs, all at quality of service 0."""

CONNECT = 0x10
CONNACK = 0x20
PUBLISH = 0x30
SUBSCRIBE = 0x82
SUBACK = 0x90

_PROTOCOL = b"\x00\x04MQTT\x04"
_CLEAN_SESSION = b"\x02"
_NO_KEEP_ALIVE = b"\0\0"
_LONGEST_HEAD = 5


def connect(client_id: bytes) -> bytes:
    """Return the first packet of a client."""
    return _packet(CONNECT, _PROTOCOL + _CLEAN_SESSION + _NO_KEEP_ALIVE + _text(client_id))


def subscribe(topic: bytes) -> bytes:
    """Return a subscription to one topic."""
    return _packet(SUBSCRIBE, b"\x00\x01" + _text(topic) + b"\0")


def publish(topic: bytes, payload: bytes) -> bytes:
    """Return a message."""
    return _packet(PUBLISH, _text(topic) + payload)


def published(packet: bytes) -> bytes | None:
    """Return the payload of a message; None if `packet` is another packet."""
    if packet[0] != PUBLISH:
        return None
    body = _head(packet, 0)
    assert body is not None
    topic_size = int.from_bytes(packet[body[0] : body[0] + 2])
    return packet[body[0] + 2 + topic_size :]


def packet_end(buffer: bytes, begin: int) -> int | None:
    """Return the end of the packet at `begin`; None if it is cut off."""
    head = _head(buffer, begin)
    if head is None or sum(head) > len(buffer):
        return None
    return sum(head)


def _head(buffer: bytes, begin: int) -> tuple[int, int] | None:
    """Return begin and size of the body of the packet at `begin`; a size has 7 bits a byte."""
    size = 0
    for place, byte in enumerate(buffer[begin + 1 : begin + _LONGEST_HEAD]):
        size |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return begin + 2 + place, size
    return None


def _packet(kind: int, body: bytes) -> bytes:
    size, rest = bytearray(), len(body)
    while rest > 0x7F:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    size.append(rest)
    return bytes((kind, *size)) + body


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2) + value
