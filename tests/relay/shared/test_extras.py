"""A missing extra is one line that says how to install it."""

import pytest

from relay.shared.extras import MODULES, extra, require_extra


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that nobody has, as one of the extra `edge`."""
    monkeypatch.setitem(MODULES, "edge", ("orjson", "no_such_module"))
    return "no_such_module"


@pytest.mark.parametrize("module", ["no_such_module", "no_such_module.below"])
def test_an_import_without_it(absent: str, module: str) -> None:
    with pytest.raises(ImportError) as raised, extra("edge"):
        __import__(module)
    assert type(raised.value) is ImportError
    assert str(raised.value) == (
        f'this part of Event Relay needs the package of {absent!r}: pip install "event-relay[edge]"'
    )


def test_another_missing_module_is_reported_as_it_is(absent: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="'another_module'"), extra("edge"):
        __import__("another_module")


def test_a_failing_import_is_not_taken_for_a_missing_one() -> None:
    with pytest.raises(ValueError, match="broken"), extra("edge"):
        raise ValueError("broken")


def test_a_program_without_it(absent: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        require_extra("event-edge", "edge")
    assert ended.value.code == 2
    expected = f'event-edge: needs the package of {absent!r}: pip install "event-relay[edge]"\n'
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_where_everything_is_installed_nothing_is_said(name: str) -> None:
    require_extra("event-edge", name)
