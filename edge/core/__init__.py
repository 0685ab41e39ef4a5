"""The edge's decisions. No FastAPI, no sockets, no clock: `now` is an argument."""
