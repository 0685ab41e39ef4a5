"""What relay, edge and emitters share besides words: settings, logs, sockets, containers."""
