"""The load generator: a process that publishes, and a process of many clients that check events."""
