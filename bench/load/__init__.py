"""The load generator: a process that publishes, a process of many clients that check what comes."""
