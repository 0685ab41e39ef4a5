"""The JSON messages of `/ws` (protocol section 7)."""
