"""The WebSocket client of our tests is the one that the tests of applications get."""

from relay.testing.client import TIMEOUT_S, Message
from relay.testing.client import EventClient as Client

__all__ = ["TIMEOUT_S", "Client", "Message"]
