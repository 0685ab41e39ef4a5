"""The fault of a peer that ends its connection."""


class ZmtpError(Exception):
    """The peer broke the protocol or a bound, or may not connect.

    `reason` is one of a few names, for counters. The text is for the log, and holds no bytes of the
    peer that are not printable. `farewell` are bytes that tell the peer.
    """

    def __init__(self, reason: str, text: str, farewell: bytes = b"") -> None:
        super().__init__(text)
        self.reason = reason
        self.farewell = farewell
