"""The edge process: forwards the relay's events as JSON to authenticated WebSocket clients.

`edge.core` holds the decisions; the modules beside it own sockets, files, HTTP and settings.
"""
