"""The keys of those who connect: both or none, and one line for each mistake."""

from pathlib import Path

import pytest

from edge.config import EdgeSettings
from emitters.commands.tail import TailSettings
from emitters.config import EmitterSettings
from relay.config import RelaySettings
from relay.shared.curve_keys import ClientKeys, new_key_pair, write_key_file
from relay.shared.relay_client import RelayClientSettings
from relay.shared.settings import Settings, SettingsError, load

CLIENTS: list[type[RelayClientSettings]] = [EdgeSettings, EmitterSettings, TailSettings]
OWN = new_key_pair()
RELAY_KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a key file in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENT_RELAY_CONFIG", raising=False)
    path = tmp_path / "own.key"
    write_key_file(path, "own", OWN)
    return path


def refusal(settings: type[Settings]) -> str:
    with pytest.raises(SettingsError) as refused:
        load(settings)
    text = str(refused.value)
    assert text.isprintable(), "one line"
    assert OWN.secret.hex() not in text
    return text


def prefix_of(settings: type[Settings]) -> str:
    return str(settings.model_config["env_prefix"])


@pytest.mark.parametrize("settings", CLIENTS)
def test_without_both_settings_nothing_is_encrypted(settings: type[RelayClientSettings]) -> None:
    assert load(settings).keys is None


@pytest.mark.parametrize("settings", CLIENTS)
def test_a_key_file_and_the_relays_key_go_together(
    settings: type[RelayClientSettings], key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = prefix_of(settings)
    monkeypatch.setenv(f"{prefix}CURVE_KEY_FILE", str(key_file))
    assert refusal(settings).startswith(
        f"{prefix}RELAY_CURVE_KEY: must be set as well: the public key of the relay"
    )
    monkeypatch.setenv(f"{prefix}RELAY_CURVE_KEY", RELAY_KEY.hex())
    assert load(settings).keys == ClientKeys(OWN, RELAY_KEY)
    monkeypatch.delenv(f"{prefix}CURVE_KEY_FILE")
    assert refusal(settings).startswith(
        f"{prefix}RELAY_CURVE_KEY: needs a key of one's own too, in the file that"
    )


@pytest.mark.parametrize("settings", [*CLIENTS, RelaySettings])
def test_a_key_file_is_read_at_the_start(
    settings: type[Settings], key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{prefix_of(settings)}CURVE_KEY_FILE"
    if settings is not RelaySettings:
        monkeypatch.setenv(f"{prefix_of(settings)}RELAY_CURVE_KEY", RELAY_KEY.hex())
    monkeypatch.setenv(name, str(key_file))
    load(settings)
    key_file.chmod(0o644)
    assert refusal(settings).startswith(
        f"{name}: other users may use it (its mode is 644): chmod 600 "
    )
    key_file.chmod(0o600)
    key_file.write_text(f'secret = "{OWN.secret.hex()}"')
    assert refusal(settings).startswith(f"{name}: is no key file: make one with `event-relay keys")
    key_file.unlink()
    assert refusal(settings).startswith(f"{name}: cannot be read: No such file or directory")


@pytest.mark.parametrize("wrong", ["x", "0" * 63, "#" * 40, RELAY_KEY.hex()[:-2] + "  "])
@pytest.mark.parametrize("settings", CLIENTS)
def test_the_relays_key_is_a_public_key(
    settings: type[Settings], wrong: str, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = prefix_of(settings)
    monkeypatch.setenv(f"{prefix}CURVE_KEY_FILE", str(key_file))
    monkeypatch.setenv(f"{prefix}RELAY_CURVE_KEY", wrong)
    expected = f"{prefix}RELAY_CURVE_KEY: must be a public key: 64 hexadecimal digits, as "
    assert refusal(settings).startswith(expected)


def test_the_settings_may_be_in_the_file(key_file: Path) -> None:
    Path("relay.toml").write_text(
        f"[emitter]\ncurve_key_file = '{key_file}'\nrelay_curve_key = '{RELAY_KEY.hex()}'\n"
    )
    assert load(EmitterSettings).keys == ClientKeys(OWN, RELAY_KEY)
    Path("relay.toml").write_text("[emitter]\ncurve_key_file = 1\n")
    assert refusal(EmitterSettings).startswith("relay.toml: [emitter] curve_key_file: Input is not")


def test_the_relay_has_a_key_or_none(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(RelaySettings).keys is None
    monkeypatch.setenv("RELAY_CURVE_KEY_FILE", str(key_file))
    assert load(RelaySettings).keys == OWN
