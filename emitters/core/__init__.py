"""The emitter's decisions: what waits, what goes next. No sockets, no threads, no clock."""
