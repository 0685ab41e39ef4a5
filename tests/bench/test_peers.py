"""The load generator's dialects of other servers' protocols."""

import random
from collections.abc import Sequence

import pytest

from bench.load.client import Closed
from bench.load.dialect import Dialect
from bench.load.frames import BINARY, Unwrapper
from bench.load.payload import event_text
from bench.load.tape import Reader, Tape
from bench.peers import mqtt
from bench.peers.mosquitto import TOPIC, MqttDialect
from bench.peers.nats import NatsDialect
from bench.peers.socket_io import SocketIoDialect
from tests.support.websocket_frames import PING, TEXT, client_frame

from .test_tape import server_frame

EVENTS = [event_text(number) for number in range(50)]
NATS_STREAM = b"".join(b"MSG bench 1 %d\r\n%s\r\n" % (len(event), event) for event in EVENTS)
MQTT_STREAM = b"".join(mqtt.publish(TOPIC, event) for event in EVENTS)


@pytest.mark.parametrize(
    ("dialect", "stream", "between"),
    [
        (NatsDialect(0), NATS_STREAM, b"PING\r\n"),
        (MqttDialect(0), MQTT_STREAM, bytes((mqtt.SUBACK, 3, 0, 1, 0))),
    ],
    ids=["NATS", "MQTT"],
)
def test_a_stream_is_read_however_it_is_framed_and_cut(
    dialect: Dialect, stream: bytes, between: bytes
) -> None:
    chance = random.Random(7)
    tape = Tape()
    for _ in range(3):
        reader = Reader(tape, dialect)
        unwrapper = Unwrapper()
        pings = others = 0
        wire = b"".join(
            server_frame(PING, b"") + server_frame(TEXT, piece)
            for piece in (between, *_pieces(chance, stream, 1000))
        )
        for chunk in _pieces(chance, wire, 300):
            payload, controls = unwrapper.take(chunk)
            pings += len(controls)
            others += len(reader.take(payload))
        assert (reader.fault, reader.received, others) == (None, len(EVENTS), 1)
        assert pings > 1


def test_a_packet_has_as_many_bytes_of_size_as_it_needs() -> None:
    for size in (0, 100, 127, 128, 16_383, 16_384, 70_000):
        packet = mqtt.publish(b"topic", b"x" * size)
        assert mqtt.packet_end(packet, 0) == len(packet)
        assert mqtt.packet_end(packet[:-1], 0) is None
        assert mqtt.published(packet) == b"x" * size
    assert mqtt.packet_end(b"\x30\x80", 0) is None
    assert mqtt.published(bytes((mqtt.CONNACK, 2, 0, 0))) is None


def test_clients_say_that_they_are_alive() -> None:
    assert NatsDialect(0).react(b"PING\r\n").reply == client_frame(BINARY, b"PONG\r\n")
    assert SocketIoDialect(0).react(b"2").reply == client_frame(TEXT, b"3")
    assert SocketIoDialect(0).react(b'40{"sid":"x"}').reply == b""


@pytest.mark.parametrize(
    ("dialect", "sign"),
    [
        (NatsDialect(0), b"PONG\r\n"),
        (MqttDialect(0), bytes((mqtt.SUBACK, 3, 0, 1, 0))),
        (SocketIoDialect(0), b'40{"sid":"x"}'),
    ],
    ids=["NATS", "MQTT", "Socket.IO"],
)
def test_a_client_knows_when_it_is_subscribed(dialect: Dialect, sign: bytes) -> None:
    assert dialect.react(sign).is_ready_sign
    assert dialect.event(sign) is None


def test_a_server_may_say_when_to_come_back() -> None:
    assert Closed(4013, "overloaded, retry in 3 s").retry_s == 3.0
    assert Closed(4013, "the relay is gone").retry_s is None


def test_the_event_is_taken_out_of_a_packet() -> None:
    assert SocketIoDialect(0).event(b'42["event",%s]' % EVENTS[0]) == EVENTS[0]
    assert SocketIoDialect(0).event(b"2") is None


def _pieces(chance: random.Random, data: bytes, most: int) -> Sequence[bytes]:
    pieces = []
    while data:
        size = chance.randint(1, most)
        pieces.append(data[:size])
        data = data[size:]
    return pieces
