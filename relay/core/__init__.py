"""The relay's decisions: numbering, interest, retention. No sockets, no files, no clock."""
