"""The measured servers: Event Relay, its peers, and a bare loop over `send()` as the limit."""

from bench.peers.bare import Bare
from bench.peers.event_relay import EventRelay
from bench.peers.fastapi_tutorial import FastApiTutorial
from bench.peers.mosquitto import Mosquitto
from bench.peers.nats import Nats
from bench.peers.nchan import Nchan
from bench.peers.peer import Peer
from bench.peers.socket_io import PythonSocketIo, SocketIo

OURS = "event-relay"
LIMIT = "bare"
PEERS: dict[str, Peer] = {
    OURS: EventRelay(),
    LIMIT: Bare(),
    "nats": Nats(),
    "nchan": Nchan(),
    "mosquitto": Mosquitto(),
    "socket.io": SocketIo(),
    "python-socketio": PythonSocketIo(),
    "fastapi": FastApiTutorial(),
}
"""Name on the command line to peer."""
