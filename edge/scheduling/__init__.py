"""When work is done on the event loop."""
