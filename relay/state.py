"""The state of a relay, which sequencer, control service and loop share."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from relay.core.counters import RelayCounters
from relay.core.demand import Demand
from relay.core.emitters import Cursor, KnownEmitters
from relay.core.intake import Intake
from relay.core.orphans import TaskOwners
from relay.core.retained import RetainedValues
from relay.journal.replayer import PublishedJournal

EVENT_ID_BYTES = 12


@dataclass(frozen=True, slots=True)
class SharedState:
    """The journal, the memory beside it, and the batch that is being gathered."""

    journal: PublishedJournal
    emitters: KnownEmitters
    intake: Intake
    counters: RelayCounters
    owners: TaskOwners
    retained: RetainedValues = field(default_factory=RetainedValues)
    demand: Demand = field(default_factory=lambda: Demand(secrets.randbits(63)))

    @classmethod
    def of(
        cls,
        journal: PublishedJournal,
        cursors: Iterable[Cursor],
        task_grace_s: float,
        counters: RelayCounters | None = None,
    ) -> "SharedState":
        """Return the state of a relay that starts with `journal` and the emitters' `cursors`."""
        emitters = KnownEmitters(cursors)
        counters = counters or RelayCounters()
        counters.relayed.list_kinds(journal.streams)
        intake = Intake(tuple(journal.streams), emitters, counters, new_event_id)
        return cls(journal, emitters, intake, counters, TaskOwners(task_grace_s))


def new_event_id() -> str:
    """Return the id of an event that its publisher gave none, or that is the relay's own."""
    return secrets.token_hex(EVENT_ID_BYTES)
