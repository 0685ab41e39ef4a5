"""The edge process: forwards the relay's events as JSON to authenticated WebSocket clients.

`edge.core` holds the decisions, and its docstring the theory of operation. Around it: `upstream`
(ZeroMQ), `websocket` (client sockets, and the endpoint that looks after every client), `scheduling`
(time on the event loop), `http` (routes), `catch_up_runner` (steps the catch-ups), `worker` (builds
the objects of one process), `process`, `app`, `cli` and `config`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import relay

if TYPE_CHECKING:
    from edge.client_actions import ActionRefused
    from edge.host.connection import ClientConnection
    from edge.host.edge import Edge

if getattr(relay, "PROJECT", None) != "event-relay":
    raise ImportError(
        "Event Relay needs its own package 'relay', but Python finds another one first:"
        f" {relay.__file__ or [*relay.__path__]}. Rename that, or look at sys.path"
    )

__all__ = ["ActionRefused", "ClientConnection", "Edge"]


_MODULES = {
    "ActionRefused": "edge.client_actions",
    "ClientConnection": "edge.host.connection",
    "Edge": "edge.host.edge",
}


def __getattr__(name: str) -> Any:
    # `edge.core`, `edge.client` and the command line need neither FastAPI nor libzmq.
    if name in _MODULES:
        from relay.shared.extras import extra
        from relay.shared.own_packages import require_own

        require_own("emitters")
        with extra("edge"):
            return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
