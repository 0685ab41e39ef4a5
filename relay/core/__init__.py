"""The relay's decisions, without sockets, files or clocks: `relay` describes how they are used."""
