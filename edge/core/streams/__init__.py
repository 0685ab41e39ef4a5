"""What this edge knows: streams, tasks and live values (protocol section 6)."""
