"""Helpers of relay, edge and emitters: settings, logs, sockets, files, containers."""
