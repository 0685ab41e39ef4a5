"""Mosquitto: an MQTT broker in C, with a WebSocket listener."""

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.load.dialect import PlainDialect, Reaction, opening
from bench.load.frames import BINARY, Message
from bench.load.payload import event_text
from bench.load.publisher import Send
from bench.peers import mqtt
from bench.peers.peer import Server
from bench.peers.programs import find_program, program, program_version, run_program
from tests.support.cluster import free_ports
from tests.support.websocket_frames import client_frame

TOPIC = b"bench"

CONFIGURATION = """
user {user}
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
listener {port} 127.0.0.1
listener {websocket_port} 127.0.0.1
protocol websockets
"""


class MqttDialect(PlainDialect):
    """MQTT packets, one after another."""

    ready_signs = 1
    is_stream = True

    def opening(self, client: int) -> bytes:
        """See `Dialect`."""
        return opening(self.port, "/mqtt", "Sec-WebSocket-Protocol: mqtt\r\n")

    def first(self, client: int) -> bytes:
        """See `Dialect`."""
        hello = mqtt.connect(b"client-%d" % client)
        return client_frame(BINARY, hello + mqtt.subscribe(TOPIC))

    def split(self, buffer: bytes) -> Iterator[Message]:
        """See `Dialect`."""
        begin = 0
        while (end := mqtt.packet_end(buffer, begin)) is not None:
            yield Message(end, BINARY, buffer[begin:end])
            begin = end

    def event(self, payload: bytes) -> bytes | None:
        """See `Dialect`."""
        return mqtt.published(payload)

    def react(self, payload: bytes) -> Reaction:
        """See `Dialect`."""
        return Reaction(is_ready_sign=payload[0] == mqtt.SUBACK)


class Mosquitto:
    """One broker, with every optional limit off."""

    name = "mosquitto"

    def missing(self) -> str | None:
        """See `Peer`."""
        return None if find_program("mosquitto") else "apt-get install mosquitto"

    def version(self) -> str:
        """See `Peer`."""
        return program_version("mosquitto", "-h")

    @contextmanager
    def run(self, directory: Path, clients: int) -> Iterator[Server]:
        """See `Peer`."""
        port, websocket_port = free_ports(2)
        configuration = directory / "mosquitto.conf"
        configuration.write_text(
            CONFIGURATION.format(user=getpass.getuser(), port=port, websocket_port=websocket_port)
        )
        command = (program("mosquitto"), "-c", str(configuration))
        with run_program(self.name, command, "running") as pid:
            yield Server(MqttDialect(websocket_port), partial(_make_send, port), {"server": pid})


def _make_send(port: int) -> Send:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(mqtt.connect(b"publisher"))
    assert connection.recv(4096)[0] == mqtt.CONNACK, "mosquitto refuses the publisher"

    def send(number: int) -> None:
        connection.sendall(mqtt.publish(TOPIC, event_text(number)))

    return send
