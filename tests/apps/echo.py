"""`event-edge` whose clients get their own messages back, as the Autobahn test suite wants it.

Everything below the conversation is the edge's own: front door, handshake, frames, compression.
"""

from edge import cli, worker
from edge.core.session import Session, Visitor
from edge.core.websocket.close_codes import CloseCode
from edge.core.websocket.frames import COMPRESSED, FIN, Opcode, text_frame
from edge.core.websocket.reader import Message
from edge.websocket.arrivals import Arrival
from edge.websocket.client import Client
from edge.websocket.endpoint import ClientEndpoint

_OPCODE_BITS = 0x0F


class EchoEndpoint(ClientEndpoint):
    """Has no sessions: it sends each message back, without looking into it."""

    def open(
        self, client: Client, visitor: Visitor, arrival: Arrival | None = None
    ) -> Session | None:
        """Let everybody in, and say nothing."""
        return None

    def message_received(self, client: Client, message: Message) -> None:
        """Send it back."""
        if message.opcode is Opcode.TEXT:
            try:
                message.payload.decode()
            except UnicodeDecodeError:
                client.fail(CloseCode.INVALID_TEXT.close())
                return
        frame = text_frame(message.payload)
        first = FIN | frame[0] & COMPRESSED | message.opcode
        client.send(bytes([first]) + frame[1:])


if __name__ == "__main__":
    worker.ClientEndpoint = EchoEndpoint  # type: ignore[attr-defined]
    cli.main()
