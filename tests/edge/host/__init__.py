"""Tests of `edge.host` that need no process."""
