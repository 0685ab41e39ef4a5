"""WebSocket connections: the I/O around `edge.core.websocket`.

Every connection of our server begins as a `FrontDoor`. If its first request is for `/ws`, the
connection becomes a `Client`; otherwise uvicorn's HTTP serves it (`HttpConnection`), and a later
request for `/ws` comes back to `FrontDoor.open`. On other ASGI servers `asgi.serve_websocket`
makes the `Client`, on an `AsgiTransport`.

A `Client` does the I/O of one `ServerProtocol`: it reads and writes its transport, and reports to
its `Host`, the `ClientEndpoint`, which has the sessions. `broadcast.write_to_all` writes a batch to
the sockets of all clients for which nothing waits.

Bounds: `ARRIVAL_TIMEOUT_S`, `MAX_ARRIVING` and `MAX_HEAD_BYTES` before a connection is open, with
4013 when handshakes wait longer than `EDGE_ADMISSION_WAIT_S`; `MAX_EARLY_BYTES` behind a request
that waits for earlier responses; `CLOSE_TIMEOUT_S` for the answer to a close frame.
"""
