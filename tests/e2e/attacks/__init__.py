"""Attacks on the relay's sockets, one test each, while honest emitters, edges and clients go on."""
