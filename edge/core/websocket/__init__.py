"""The WebSocket protocol, server side, without I/O (RFC 6455, RFC 7692).

`handshake` answers the opening request. From then on one `ServerProtocol` (`protocol`) stands for
each connection. The shell, `edge.websocket.client.Client`, gives it what comes and writes what it
returns; it decides everything else:

- `State`, who has closed: OPEN → CLOSING (our close frame is out) → CLOSED (the client's came, or
  the connection is lost). FAILED: the client broke a rule, so its bytes are not parsed any more.
- `Writing`, where a frame goes: FREE (a batch may be written past the transport) → TURN (frames
  wait for the end of this turn) → FREE; FULL (the transport holds bytes, frames wait in a
  `SendQueue`) → FREE; ENDED. `NEXT_STATES` and `NEXT_WRITINGS` list the transitions.

`reader` turns bytes into messages, `frames` makes frames and compresses them, `close_codes` is the
one table of codes (protocol section 7).

Bounds of a connection: one message of `EDGE_MAX_MESSAGE_BYTES` and one frame's beginning in the
reader; `EDGE_MAX_QUEUED_BYTES` and `MAX_QUEUED_FRAMES` in the queue, else 4008; one pong. Of all
connections together: `EDGE_MAX_QUEUED_TOTAL_BYTES` in `Budget`, else 4008 for the longest queues;
1 MiB of compressed frames in `FrameDeflater`. The frames of one turn are bounded by their senders:
a step of a catch-up, and a flush of the audiences.
"""
