"""The harness sees a fault, and says how to repeat it."""

import pytest

from relay.wire.envelope import unpack_envelope
from relay.wire.errors import WireError
from tests.fuzz import parsers
from tests.fuzz.budget import Budget
from tests.fuzz.parser import Fault, Parser
from tests.fuzz.parsers import PARSERS, fuzz_parsers, try_one


@pytest.mark.parametrize("name", PARSERS)
def test_every_sample_is_accepted(name: str) -> None:
    for sample in PARSERS[name].samples:
        if name == "envelope":
            unpack_envelope(sample, "event")
        else:
            assert try_one(name, sample)


def test_a_fault_is_seen_and_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(data: bytes) -> None:
        if data[:1] == b"\xff":
            raise IndexError("a fault of ours")
        raise WireError("its own fault")

    monkeypatch.setattr(parsers, "PARSERS", {"bad": Parser(parse, [bytes(10)])})
    with pytest.raises(Fault, match="a fault of ours") as found:
        fuzz_parsers(Budget(inputs=10_000), 5)
    number = int(str(found.value).rpartition(" ")[2])
    with pytest.raises(Fault, match="a fault of ours"):
        fuzz_parsers(Budget(only=number), 5)
    assert fuzz_parsers(Budget(inputs=number), 5).startswith(f"{number} inputs to 1 parsers, 0 ")
