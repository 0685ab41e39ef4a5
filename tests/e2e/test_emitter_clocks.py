"""Emitters keep their identity, whatever the clocks of their hosts said."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from emitters import Emitter
from tests.e2e.journaled import inspecting
from tests.emitters.relay_control import read_journal
from tests.support.cluster import Cluster
from tests.support.raw_emitter import RawEmitter

DAYS_40_NS = 40 * 24 * 3600 * 10**9
CLOSE_S = 20.0


def emit(cluster: Cluster, spool: Path | None = None) -> None:
    emitter = Emitter(
        name="manager-1", ingress=cluster.ingress, control=cluster.control, spool=spool
    )
    emitter.emit("event:a", {})
    assert emitter.wait_acknowledged(CLOSE_S)
    assert emitter.close(CLOSE_S) == 0


@pytest.mark.parametrize("epoch", [DAYS_40_NS, 2**64 - 1])
@pytest.mark.parametrize("with_spool", [False, True])
def test_an_epoch_of_the_future_locks_no_later_process_out(
    cluster: Cluster,
    emitters: Callable[..., RawEmitter],
    tmp_path: Path,
    epoch: int,
    with_spool: bool,
) -> None:
    """An emitter of an earlier version had a clock that was 40 days ahead."""
    cluster.start_relay()
    ahead = emitters("manager-1", epoch if epoch > DAYS_40_NS else time.time_ns() + epoch)
    ahead.admitted()
    ahead.send([1])
    ahead.wait_acknowledged(1)
    ahead.close()
    for _ in range(2):
        emit(cluster, tmp_path / "spool" if with_spool else None)
    assert len(read_journal(cluster.control)) == 3


def test_processes_of_one_name_follow_each_other_also_over_a_relay_that_is_killed(
    cluster: Cluster,
) -> None:
    """Each has an identity of its own, and the relay remembers those before it."""
    identities: set[tuple[bytes, int]] = set()
    for count in range(1, 4):
        relay = cluster.start_relay()
        emit(cluster)
        assert len(read_journal(cluster.control)) == count
        relay.kill()
        with inspecting(cluster) as inspection:
            cursors = [row.cursor for row in inspection.emitters()]
        assert [(each.name, each.sequence) for each in cursors] == [("manager-1", 1)] * count
        assert len({each.emitter_id for each in cursors}) == count
        known, identities = identities, {(each.emitter_id, each.epoch) for each in cursors}
        assert known < identities, "a later process changes nothing of an earlier one"
