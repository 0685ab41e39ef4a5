"""WebSocket connections on sockets."""
