"""Variables with our prefixes that are no settings are named, with the nearest that is one."""

from collections.abc import Collection, Iterable

import pytest

from edge.config import EdgeSettings
from emitters.commands.tail import TailSettings
from emitters.config import EmitterSettings
from relay.config import RelaySettings
from relay.shared.settings import Settings, SettingsError, load, variable_of
from relay.shared.unknown_variables import unknown_variables

ADVICE = "If it belongs to other software, name it in ignore_variables of relay.toml"


def unknown(
    settings: type[Settings], names: Iterable[str], ignored: Collection[str] = ()
) -> list[str]:
    known = [
        variable_of(settings, name)
        for name in (*settings.model_fields, *settings.others_of_section)
    ]
    return list(unknown_variables(str(settings.model_config["env_prefix"]), known, names, ignored))


@pytest.mark.parametrize("settings", [RelaySettings, EdgeSettings, EmitterSettings, TailSettings])
def test_every_setting_is_known_in_either_case(settings: type[Settings]) -> None:
    prefix = settings.model_config["env_prefix"]
    names = [f"{prefix}{name}" for name in settings.model_fields]
    upper = [name.upper() for name in names]
    assert unknown(settings, [*names, *upper]) == []


@pytest.mark.parametrize(
    ("settings", "name", "nearest"),
    [
        (EdgeSettings, "EDGE_MAX_CONECTIONS", "EDGE_MAX_CONNECTIONS"),
        (EdgeSettings, "EDGE_RELAY_INGRESS", "EDGE_RELAY_EGRESS"),
        (RelaySettings, "RELAY_RETENTION_SECONDS", "RELAY_RETENTION_S"),
        (RelaySettings, "relay_ingres", "RELAY_INGRESS"),
        (EmitterSettings, "EMITTER_NMAE", "EMITTER_NAME"),
        (EmitterSettings, "EMITTER_EGRESS", "EMITTER_RELAY_EGRESS"),
        (TailSettings, "EMITTER_NMAE", "EMITTER_NAME"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_nearest(
    settings: type[Settings], name: str, nearest: str
) -> None:
    [line] = unknown(settings, [name, "PATH"])
    upper = name.upper()
    assert line == f"{upper}: there is no such setting; did you mean {nearest}? {ADVICE}"
    assert unknown(settings, [name], [upper]) == []


def test_a_name_like_no_setting_gets_no_hint() -> None:
    [line] = unknown(RelaySettings, ["RELAY_COLOUR"])
    assert line == f"RELAY_COLOUR: there is no such setting; {ADVICE[0].lower()}{ADVICE[1:]}"


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "EDGELESS",
        "OUR_EDGE_PORT",
        "EDGE_SERVICE_HOST",
        "EDGE_SERVICE_PORT",
        "EDGE_SERVICE_PORT_HTTP",
        "EDGE_PORT_8000_TCP",
        "EDGE_PORT_8000_TCP_ADDR",
        "EDGE_PORT_8000_TCP_PROTO",
    ],
)
def test_names_of_others_are_not_mentioned(name: str) -> None:
    """Kubernetes sets some of them for a service named `edge`."""
    assert unknown(EdgeSettings, [name]) == []


def test_a_name_of_any_characters_is_one_printable_line() -> None:
    [line] = unknown(EdgeSettings, ["EDGE_\x1b[2J\n\udcff" + "x" * 500])
    assert line.isprintable()
    assert len(line) < 300


@pytest.mark.parametrize("settings", [EmitterSettings, TailSettings])
def test_loading_settings_refuses_such_a_variable(
    settings: type[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMITTER_RELAY_INGRES", "x")
    with pytest.raises(SettingsError, match=r"^EMITTER_RELAY_INGRES: .*EMITTER_RELAY_INGRESS\?"):
        load(settings)
