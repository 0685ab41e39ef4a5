"""Ready means that a resume would succeed."""

from edge.core.control.control_health import REPLAY_TIMEOUT_S, ControlHealth
from edge.core.control.readiness import Readiness
from edge.core.streams.relay_state import RelayState


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
