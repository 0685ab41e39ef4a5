"""The edge process: forwards the relay's events as JSON to authenticated WebSocket clients.

`edge.core` holds the decisions, and its docstring the theory of operation. Around it: `upstream`
(ZeroMQ), `websocket` (client sockets, and the endpoint that looks after every client), `scheduling`
(time on the event loop), `http` (routes), `catch_up_runner` (steps the catch-ups), `worker` (builds
the objects of one process), `process`, `app`, `cli` and `config`.
"""
