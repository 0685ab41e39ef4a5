"""A session with a token that is revoked between its handshake and its first word, or later."""

from edge.core.identity.access import Identity
from edge.core.identity.revocations import Revocations
from edge.core.identity.tokens import NotKnownYet
from edge.core.session import Session, SessionServices, Visitor
from edge.core.websocket.close_codes import Close
from relay.wire.revocations import Revocation
from tests.edge.core.test_session import EXPIRES_AT, NOW, Table, authenticate, receive
from tests.edge.recorders import RecordingConnection

REVOKED = Close(1008, "Token revoked")
INVALID = Close(1008, "Invalid token")
ANN = Identity("ann", "user", EXPIRES_AT, issued_at=NOW - 5, token_id="one")


class OneToken:
    """Knows one token; a `TokenVerifier`."""

    problem: NotKnownYet | None = None

    def first_valid(self, tokens: object, now: float) -> Identity:
        """Return ann."""
        if self.problem is not None:
            raise self.problem
        return ANN


class RevokingTable:
    """An edge that knows revocations, and one client of it."""

    def __init__(self, visitor: Visitor) -> None:
        table = Table()
        services = {
            name: getattr(table.services, name) for name in SessionServices.__dataclass_fields__
        }
        self.revocations, self.tokens = Revocations(), OneToken()
        services |= {"revocations": self.revocations, "tokens": self.tokens}
        self.connection = RecordingConnection("nobody yet")
        self.session = Session(
            self.connection, SessionServices(**services), table.catch_ups.append, visitor, NOW
        )

    def revoke(self) -> None:
        self.revocations.take(Revocation(0, "ann", "one"), 0)


def test_a_token_that_is_revoked_before_it_is_admitted() -> None:
    edge = RevokingTable(Visitor(ANN, (), None))
    edge.revoke()
    assert edge.session.admit(ANN, NOW, NOW) == REVOKED
    assert edge.session.identity is None


def test_a_cookie_that_is_revoked_while_the_first_message_is_waited_for() -> None:
    edge = RevokingTable(Visitor(None, ("cookie",), None, ANN))
    edge.revoke()
    assert edge.session.admit_by_cookie(NOW, NOW) == REVOKED
    asked = RevokingTable(Visitor(None, ("cookie",), None, ANN))
    asked.revoke()
    assert receive(asked.session, '{"action":"subscribe","topic":"event:x"}', NOW) == REVOKED


def test_a_renewal_with_a_token_that_an_application_knows_and_that_is_revoked() -> None:
    edge = RevokingTable(Visitor(ANN, (), None))
    assert edge.session.admit(ANN, NOW, NOW) is None
    edge.revoke()
    assert receive(edge.session, authenticate("x"), NOW) == INVALID


def test_a_token_of_which_nothing_is_known_yet_is_to_come_again() -> None:
    edge = RevokingTable(Visitor(None, (), None))
    edge.tokens.problem = NotKnownYet("the keys are not known yet")
    assert receive(edge.session, authenticate("x"), NOW) == Close(
        4013, "the keys are not known yet, retry in 1 s"
    )
