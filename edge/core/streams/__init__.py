"""The edge's streams, tasks and live values (protocol section 6)."""
