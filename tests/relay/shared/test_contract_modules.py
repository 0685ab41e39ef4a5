"""Modules that register contracts are imported by name, and a wrong one is told in one line."""

import sys
from pathlib import Path

import pytest

from relay.shared.contract_modules import load_contracts
from relay.shared.settings import SettingsError
from relay.wire import contracts

ODD = """
from collections.abc import Callable
from pydantic import BaseModel
from relay.wire.contracts import event

@event("order_paid", check=False)
class OrderPaid(BaseModel):
    then: Callable[[], None]
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    return tmp_path


def test_a_module_of_the_working_directory_is_found(directory: Path) -> None:
    (directory / "events_of_a_test.py").write_text("IS_LOADED = True\n")
    load_contracts(("events_of_a_test",), "EDGE_CONTRACTS")
    assert sys.modules.pop("events_of_a_test").IS_LOADED


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "No module named 'wrong_events'"),
        ("1/0\n", "division by zero"),
        ("raise ValueError('two\\nlines')\n", "two lines"),
        ("raise KeyError\n", "KeyError"),
    ],
)
def test_a_wrong_one_is_told_in_one_line(directory: Path, text: str | None, problem: str) -> None:
    if text is not None:
        (directory / "wrong_events.py").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_contracts(("wrong_events",), "EDGE_CONTRACTS")
    assert str(caught.value) == f"EDGE_CONTRACTS: wrong_events cannot be imported: {problem}"


def test_a_model_without_a_json_schema_is_told_in_one_line(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts.CONTRACTS, "_by_topic", {})
    (directory / "odd_events.py").write_text(ODD)
    with pytest.raises(SettingsError) as caught:
        load_contracts(("odd_events",), "--import")
    del sys.modules["odd_events"]
    begin = "--import: the model of order_paid has no JSON schema: "
    assert str(caught.value).startswith(begin)
    assert "\n" not in str(caught.value)
