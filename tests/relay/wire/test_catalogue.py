"""The names are public interface: 37 of the first version, and those of later ones."""

from typing import Any

import pytest

from emitters.events import CATALOGUE, EventData, EventName, Outcome
from relay.wire.catalogue import build_catalogue, check_catalogue
from relay.wire.contracts import CONTRACTS, Contracts
from relay.wire.errors import InvalidEnvelope
from relay.wire.topics import parse_topic

NAMES = [
    "before_addon_import",
    "after_addon_import",
    "before_backup",
    "after_backup",
    "before_restore",
    "after_restore",
    "before_prune_backups",
    "after_prune_backups",
    "before_players_add",
    "after_players_add",
    "before_player_db_scan",
    "after_player_db_scan",
    "before_server_start",
    "after_server_start",
    "before_server_stop",
    "after_server_stop",
    "before_command_send",
    "after_command_send",
    "before_allowlist_change",
    "after_allowlist_change",
    "before_server_install",
    "after_server_install",
    "before_server_update",
    "after_server_update",
    "before_autostart_change",
    "after_autostart_change",
    "after_server_statuses_updated",
    "before_web_server_start",
    "after_web_server_start",
    "before_web_server_stop",
    "after_web_server_stop",
    "before_world_export",
    "after_world_export",
    "before_world_import",
    "after_world_import",
    "before_world_reset",
    "after_world_reset",
]


LATER_NAMES = [
    "before_server_status_change",
    "after_server_status_change",
    "before_server_statuses_updated",
]


def test_the_names_are_these_37_in_this_order_and_later_ones_follow() -> None:
    assert len(NAMES) == 37
    assert [name.value for name in EventName] == NAMES + LATER_NAMES
    assert [str(name) for name in CATALOGUE] == NAMES + LATER_NAMES


@pytest.mark.parametrize("name", EventName)
def test_every_entry_is_complete(name: EventName) -> None:
    spec = CATALOGUE[name]
    assert spec.name is name
    assert spec.topic == name.topic == f"event:{name}"
    assert parse_topic(spec.topic).kind == "event"
    assert "\n" not in spec.meaning
    assert spec.meaning.endswith(".")
    assert issubclass(spec.model, EventData)
    assert spec.model.model_json_schema()["type"] == "object"


def test_the_catalogue_is_the_same_however_often_it_is_built() -> None:
    def described() -> list[tuple[str, str, str, dict[str, Any]]]:
        return [
            (name, spec.topic, spec.meaning, spec.model.model_json_schema())
            for name, spec in build_catalogue().items()
        ]

    assert [name for name, *_ in described()] == NAMES + LATER_NAMES
    assert described() == [
        (spec.name, spec.topic, spec.meaning, spec.model.model_json_schema())
        for spec in CATALOGUE.values()
    ]


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("backup", {"server_name", "backup_type"}),
        ("server_stop", {"server_name"}),
        ("player_db_scan", set()),
        ("server_status_change", {"server_name", "status"}),
    ],
)
def test_after_an_operation_its_result_is_added(operation: str, fields: set[str]) -> None:
    catalogue = build_catalogue()
    before = catalogue[EventName(f"before_{operation}")].model
    after = catalogue[EventName(f"after_{operation}")].model
    assert set(before.model_fields) == fields
    assert set(after.model_fields) == fields | {"result"}


def test_meanings_are_all_different() -> None:
    assert len({spec.meaning for spec in CATALOGUE.values()}) == len(CATALOGUE)


def test_unknown_fields_are_kept() -> None:
    model = CATALOGUE[EventName.BEFORE_BACKUP].model
    data = model.model_validate({"server_name": "survival", "compression": "zip"})
    assert data.model_dump()["compression"] == "zip"


def test_results_belong_to_what_follows_an_operation() -> None:
    with_result = {name for name, spec in CATALOGUE.items() if "result" in spec.model.model_fields}
    after = {name for name in EventName if name.startswith("after_")}
    assert with_result == after - {EventName.AFTER_SERVER_STATUSES_UPDATED}


@pytest.mark.parametrize("result", [None, 3, "done", [1], {"status": "pending"}, {"other": 1}])
def test_a_result_may_be_anything(result: Any) -> None:
    model = CATALOGUE[EventName.AFTER_SERVER_START].model
    assert model.model_validate({"server_name": "a", "result": result}).model_dump()["result"] == (
        result
    )


def test_a_result_with_a_known_status_is_an_outcome() -> None:
    model = CATALOGUE[EventName.AFTER_SERVER_START].model
    result = {"status": "error", "message": "no", "exit_code": 1}
    data = model.model_validate({"server_name": "a", "result": result})
    outcome = data.model_dump()["result"]
    assert isinstance(getattr(data, "result"), Outcome)  # noqa: B009 - a field of the made model
    assert outcome == result


def test_the_catalogue_is_registered_and_checks_nothing_unless_asked() -> None:
    registered = {each.topic: each for each in CONTRACTS}
    for spec in CATALOGUE.values():
        assert registered[spec.topic].description == spec.meaning
        assert not registered[spec.topic].is_checked
    asked = Contracts()
    check_catalogue(asked)
    topic = parse_topic("event:before_backup")
    kept = asked.checked(topic, {"server_name": "a", "further": 1})
    assert kept.model_dump()["further"] == 1
    with pytest.raises(InvalidEnvelope, match=r"^data\.server_name: "):
        asked.checked(topic, {})
    check_catalogue(asked, check=False)
    assert asked.checked(topic, {}) == {}
