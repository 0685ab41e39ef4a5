"""The errors of the Python client."""

from edge.client.core.messages import Loss


class ClientError(Exception):
    """Base of the errors of `edge.client`."""


class EventsLost(ClientError):  # noqa: N818 - it says what happened
    """Events did not reach this client, and never will. The iteration can go on after it.

    It is raised in the place of the missing events, unless `connect` was given `on_loss`.
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__(str(loss))
        self.loss = loss


class RequestFailed(ClientError):  # noqa: N818 - it says what happened
    """A subscription, a `publish` or a `request` has failed; `code` says why."""

    def __init__(self, code: str, message: str, topic: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.topic = topic


class RequestRefused(RequestFailed):
    """The edge refused a request; `code` is its code (protocol section 7), `topic` the pattern.

    A `publish` or `request` has had no effect, unless the function that took it says otherwise
    (`failed`).
    """


class Forbidden(RequestRefused):
    """The user's role does not allow the subscription, the event, or the call."""


class NotSent(RequestFailed):
    """There was no connection in time, or the client is closed (`not_connected`)."""


class OutcomeUnknown(RequestFailed):
    """A `publish` or `request` was sent, and nobody knows whether it was acted on.

    `code` is `connection_lost` or `timeout`. The client sends nothing a second time.
    """


class ClosedByEdge(ClientError):  # noqa: N818 - it says what happened
    """The edge closed the connection for good: `code` and `reason` are those of its close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the edge closed the connection for good: {code} {reason}")
        self.code = code
        self.reason = reason


class TokenRefused(ClosedByEdge):
    """The edge refused the token, and of a function the next one too."""


class EdgeUnreachable(ClientError):  # noqa: N818 - it says what happened
    """The edge cannot be reached within `open_timeout_s`."""


def refusal(code: str, message: str, topic: str | None) -> RequestRefused:
    """Return the error of a refused request."""
    kind = Forbidden if code == "forbidden" else RequestRefused
    return kind(code, message, topic)
