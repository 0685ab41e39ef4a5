"""The WebSocket protocol, server side, without I/O (RFC 6455)."""
