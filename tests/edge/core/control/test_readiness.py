"""Ready means that a resume would succeed."""

from edge.core.control.control_health import REPLAY_TIMEOUT_S, ControlHealth
from edge.core.control.readiness import Readiness
from edge.core.identity.revocations import Revocations
from edge.core.streams.relay_state import Heard, RelayState
from edge.core.websocket.close_codes import Close


def test_both_connections_to_the_relay_are_needed() -> None:
    relay, control = RelayState(3.0), ControlHealth()
    readiness = Readiness(relay, control)

    def trouble() -> str | None:
        return readiness.trouble

    assert trouble() == "the relay's heartbeat is missing"
    relay.follow(7, 1)
    assert trouble() == "the relay does not answer requests"
    control.hear(1.0)
    assert trouble() is None
    now = 1.0
    while now < REPLAY_TIMEOUT_S + 3.0:
        control.hear(now)
        control.tick(now, is_waiting=True, is_replay_waiting=True)
        now += 0.25
    assert trouble() == "the relay does not replay events"
    control.hear(now, is_replay=True)
    assert trouble() is None


def test_a_restarted_relay_turns_no_newcomer_away() -> None:
    """A newcomer is served like the clients that stay while the edge synchronizes."""
    relay, control = RelayState(3.0), ControlHealth()
    readiness = Readiness(relay, control)
    relay.follow(7, 1)
    control.hear(1.0)
    relay.hear(1.0)
    relay.tick(1.0)
    assert relay.take_heartbeat(7, 2, is_answer=False) is Heard.RESTART
    assert (relay.is_alive, readiness.refusal) == (False, None)
    ticks = [relay.tick(1.0 + n / 2).is_lost for n in range(1, 8)]
    assert ticks == [False] * 6 + [True]
    assert readiness.trouble == "the relay's heartbeat is missing"


def test_clients_that_are_sent_away_together_are_told_to_return_spread_out() -> None:
    readiness = Readiness(RelayState(3.0), ControlHealth())
    missing = "the relay's heartbeat is missing, retry in"
    assert readiness.refusal == Close(4013, f"{missing} 1 s")
    for clients, seconds in ((0, 1), (1_000, 1), (2_500, 3), (100_000, 10)):
        assert readiness.send_away(clients) == Close(4013, f"{missing} {seconds} s")
        assert readiness.refusal == Close(4013, f"{missing} {seconds} s"), "who comes meanwhile"
    readiness.relay.follow(7, 1)
    assert readiness.send_away(1).reason == "the relay does not answer requests, retry in 1 s"


def test_nobody_is_let_in_before_the_revoked_tokens_are_known() -> None:
    relay, control, revocations = RelayState(3.0), ControlHealth(), Revocations()
    readiness = Readiness(relay, control, revocations)
    relay.follow(7, 1)
    control.hear(1.0)
    refusal = Close(4013, "revoked tokens are not known yet, retry in 1 s")
    assert readiness.refusal == refusal
    revocations.is_known = True
    assert readiness.trouble is None
