"""Variables with our prefixes that are no settings are named, with the nearest that is one."""

import pytest

from edge.config import EdgeSettings
from emitters.config import OTHER_VARIABLES, EmitterSettings
from relay.config import RelaySettings
from relay.shared.settings import Settings
from relay.shared.unknown_variables import unknown_variables


@pytest.mark.parametrize("settings", [RelaySettings, EdgeSettings, EmitterSettings])
def test_every_setting_is_known_in_either_case(settings: type[Settings]) -> None:
    prefix = settings.model_config["env_prefix"]
    names = [f"{prefix}{name}" for name in settings.model_fields]
    upper = [name.upper() for name in names]
    assert list(unknown_variables(settings, [*names, *upper])) == []


@pytest.mark.parametrize(
    ("settings", "name", "nearest"),
    [
        (EdgeSettings, "EDGE_MAX_CONECTIONS", "EDGE_MAX_CONNECTIONS"),
        (EdgeSettings, "EDGE_RELAY_INGRESS", "EDGE_RELAY_EGRESS"),
        (RelaySettings, "RELAY_RETENTION_SECONDS", "RELAY_RETENTION_S"),
        (RelaySettings, "relay_ingres", "RELAY_INGRESS"),
        (EmitterSettings, "EMITTER_NMAE", "EMITTER_NAME"),
        (EmitterSettings, "EMITTER_EGRESS", "EMITTER_RELAY_EGRESS"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_nearest(
    settings: type[Settings], name: str, nearest: str
) -> None:
    [line] = unknown_variables(settings, [name, "PATH"], OTHER_VARIABLES)
    assert line == f"{name.upper()} is not a setting and has no effect; did you mean {nearest}?"


def test_a_name_like_no_setting_gets_no_hint() -> None:
    [line] = unknown_variables(RelaySettings, ["RELAY_COLOUR"])
    assert line == "RELAY_COLOUR is not a setting and has no effect"


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
    assert list(unknown_variables(EdgeSettings, [name])) == []


def test_a_name_of_any_characters_is_one_printable_line() -> None:
    [line] = unknown_variables(EdgeSettings, ["EDGE_\x1b[2J\n\udcff" + "x" * 500])
    assert line.isprintable()
    assert len(line) < 200
