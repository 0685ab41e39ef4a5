"""The edge process: forwards the relay's events as JSON to authenticated WebSocket clients.

`edge.core` holds the decisions, and its docstring the theory of operation. Around it: `upstream`
(ZeroMQ), `websocket` (client sockets), `scheduling` (time on the event loop), `http` (routes),
`worker` (the objects of one process), `app` (routes), `cli` and `config`.
"""
