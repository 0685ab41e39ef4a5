"""The commands of `event-emit`, one a file."""
