"""A wrong setting is refused with one line that names it and the allowed values."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import EdgeSettings
from emitters.commands.tail import TailSettings
from emitters.config import EmitterSettings
from relay.config import RelaySettings
from relay.shared.settings import Settings, SettingsError, load, refuse

SetEnvironment = Callable[[str, str], None]
ENDPOINTS: list[tuple[type[Settings], str]] = [
    (RelaySettings, "RELAY_INGRESS"),
    (RelaySettings, "RELAY_EGRESS"),
    (RelaySettings, "RELAY_CONTROL"),
    (EdgeSettings, "EDGE_RELAY_EGRESS"),
    (EdgeSettings, "EDGE_RELAY_CONTROL"),
    (EmitterSettings, "EMITTER_RELAY_INGRESS"),
    (EmitterSettings, "EMITTER_RELAY_CONTROL"),
]
WRONG_ENDPOINTS = [
    "5555",
    "tcp://127.0.0.1:0",
    "tcp://a b:5555",
    "tcp://::1:5555",
    f"ipc://{'p' * 108}",
]
"""`test_addresses` has the whole table."""
PEERS = [(settings, name) for settings, name in ENDPOINTS if settings is not RelaySettings]
WRONG: list[tuple[type[Settings], str, str]] = [
    *((settings, name, value) for settings, name in ENDPOINTS for value in WRONG_ENDPOINTS),
    *((settings, name, "tcp://*:5555") for settings, name in PEERS),
    (RelaySettings, "RELAY_JOURNALED_KINDS", "event"),
    (RelaySettings, "RELAY_JOURNALED_KINDS", ","),
    (RelaySettings, "RELAY_JOURNALED_KINDS", "task,Event"),
    (RelaySettings, "RELAY_JOURNALED_KINDS", "task,event:"),
    (RelaySettings, "RELAY_JOURNALED_KINDS", "task,edge-state"),
    (RelaySettings, "RELAY_JOURNALED_KINDS", "task," + "k" * 65),
    (RelaySettings, "RELAY_JOURNALED_KINDS", "task," + ",".join(map("k{}".format, range(64)))),
    (RelaySettings, "RELAY_DURABILITY", "nonsense"),
    (EdgeSettings, "EDGE_CLOSE_CODES", "4000"),
    *(
        (EdgeSettings, "EDGE_JWT_ALGORITHMS", value)
        for value in (",", "none", "HS256,RS512", "hs256")
    ),
    (EdgeSettings, "EDGE_JWT_PUBLIC_KEYS", ",".join(map("k{}.pem".format, range(17)))),
    *(
        (EdgeSettings, "EDGE_JWT_JWKS", value)
        for value in (
            "ftp://id.example.org/jwks",
            "https://",
            "https://:443/x",
            "https://me:secret@id.example.org/jwks",
            "https://id.example.org:99999/jwks",
            "https://id.example.org/a b",
            "http://[::1/jwks",
        )
    ),
    *((EdgeSettings, "EDGE_JWT_JWKS_INTERVAL_S", value) for value in ("0", "3601", "nan", "often")),
    *((EdgeSettings, "EDGE_JWT_JWKS_MAX_AGE_S", value) for value in ("0", "86401", "inf", "x")),
    *((EdgeSettings, "EDGE_JWT_LEEWAY_S", value) for value in ("-1", "601", "nan", "x")),
    *((EdgeSettings, "EDGE_JWT_USER_CLAIM", value) for value in ("exp", "jti", "x" * 256)),
    *((EdgeSettings, "EDGE_JWT_ROLE_CLAIM", value) for value in ("aud", "x" * 256)),
    (EdgeSettings, "EDGE_REMEMBERED_TTL_S", "59"),
    (EdgeSettings, "EDGE_REMEMBERED_TTL_S", "for ever"),
    (RelaySettings, "RELAY_DURABILITY", "Power"),
    *((RelaySettings, "RELAY_TASK_GRACE_S", value) for value in ("-1", "nan", "inf", "1e9", "x")),
    (RelaySettings, "RELAY_RETENTION_S", "0"),
    (RelaySettings, "RELAY_RETENTION_S", "-1"),
    (RelaySettings, "RELAY_RETENTION_S", "nan"),
    (RelaySettings, "RELAY_RETENTION_S", "inf"),
    (RelaySettings, "RELAY_RETENTION_S", "1e300"),
    (RelaySettings, "RELAY_RETENTION_S", "a week"),
    (RelaySettings, "RELAY_RETENTION_BYTES", "65535"),
    (RelaySettings, "RELAY_RETENTION_BYTES", "1.5"),
    (RelaySettings, "RELAY_HEARTBEAT_S", "0"),
    (RelaySettings, "RELAY_HEARTBEAT_S", "61"),
    (RelaySettings, "RELAY_HEARTBEAT_S", "nan"),
    (RelaySettings, "RELAY_HEARTBEAT_S", "often"),
    (RelaySettings, "RELAY_EGRESS_HWM", "0"),
    (RelaySettings, "RELAY_EGRESS_HWM", "1.5"),
    (RelaySettings, "RELAY_EGRESS_BYTES", "1048575"),
    (RelaySettings, "RELAY_LOG_LEVEL", "LOUD"),
    (EdgeSettings, "EDGE_PORT", "0"),
    (EdgeSettings, "EDGE_PORT", "65536"),
    (EdgeSettings, "EDGE_PORT", "http"),
    (EdgeSettings, "EDGE_WORKERS", "0"),
    (EdgeSettings, "EDGE_WORKERS", "257"),
    (EdgeSettings, "EDGE_RELAY_TIMEOUT_S", "0.1"),
    (EdgeSettings, "EDGE_TOPIC_PREFIXES", "Event:"),
    (EdgeSettings, "EDGE_CONTRACTS", "myapp/events.py"),
    (EdgeSettings, "EDGE_CONTRACTS", "myapp..events"),
    (EdgeSettings, "EDGE_TOPIC_PREFIXES", "event:,*"),
    (EdgeSettings, "EDGE_TOPIC_PREFIXES", "event:" + "n" * 250),
    (EdgeSettings, "EDGE_JWT_SECRET", "x" * 31),
    (EdgeSettings, "EDGE_TOKEN_TTL_S", "59"),
    (EdgeSettings, "EDGE_COOKIE_NAME", "a b"),
    (EdgeSettings, "EDGE_COOKIE_NAME", "a=b"),
    (EdgeSettings, "EDGE_COOKIE_NAME", "ü"),
    (EdgeSettings, "EDGE_COOKIE_NAME", "n" * 101),
    (EdgeSettings, "EDGE_TRUSTED_PROXIES", "localhost"),
    (EdgeSettings, "EDGE_TRUSTED_PROXIES", "10.0.0.1/8"),
    (EdgeSettings, "EDGE_ALLOWED_ORIGINS", "example.org"),
    (EdgeSettings, "EDGE_ALLOWED_ORIGINS", "https://example.org/"),
    (EdgeSettings, "EDGE_ALLOWED_ORIGINS", "https://a.org,*"),
    (EdgeSettings, "EDGE_AUTHENTICATION_TIMEOUT_S", "0"),
    (EdgeSettings, "EDGE_MAX_MESSAGE_BYTES", "1023"),
    (EdgeSettings, "EDGE_MAX_CONNECTIONS", "0"),
    (EdgeSettings, "EDGE_MAX_CONNECTIONS_PER_USER", "-1"),
    (EdgeSettings, "EDGE_MAX_CONNECTIONS_PER_ADDRESS", "0"),
    (EdgeSettings, "EDGE_CONNECTIONS_PER_S", "0"),
    (EdgeSettings, "EDGE_CONNECTION_BURST", "0"),
    (EdgeSettings, "EDGE_ACCEPTS_PER_S", "0"),
    (EdgeSettings, "EDGE_ACCEPT_BURST", "0"),
    (EdgeSettings, "EDGE_MAX_JSON_DEPTH", "1"),
    (EdgeSettings, "EDGE_MAX_JSON_DEPTH", "1025"),
    (EdgeSettings, "EDGE_MAX_UNAUTHENTICATED", "0"),
    (EdgeSettings, "EDGE_BYTES_PER_S", "1023"),
    (EdgeSettings, "EDGE_CATCH_UP_EVENTS_PER_S", "0"),
    (EdgeSettings, "EDGE_CATCH_UP_EVENT_BURST", "0"),
    (EdgeSettings, "EDGE_CATCH_UP_BYTES_PER_S", "1023"),
    (EdgeSettings, "EDGE_CATCH_UP_BYTE_BURST", "1023"),
    (EdgeSettings, "EDGE_BYTE_BURST", "65535"),
    (EdgeSettings, "EDGE_MAX_SUBSCRIPTIONS_PER_USER", "0"),
    (EdgeSettings, "EDGE_MAX_SUBSCRIPTION_BYTES_PER_USER", "254"),
    (EdgeSettings, "EDGE_MAX_SUBSCRIPTIONS_TOTAL", "0"),
    (EdgeSettings, "EDGE_MAX_SUBSCRIPTION_TOTAL_BYTES", "254"),
    (EdgeSettings, "EDGE_MAX_SUBSCRIPTIONS", "0"),
    (EdgeSettings, "EDGE_MAX_QUEUED_BYTES", "many"),
    (EdgeSettings, "EDGE_MESSAGES_PER_S", "0"),
    (EdgeSettings, "EDGE_MESSAGES_PER_S", "nan"),
    (EdgeSettings, "EDGE_MESSAGE_BURST", "0"),
    (EdgeSettings, "EDGE_POSITION_INTERVAL_S", "0"),
    (EdgeSettings, "EDGE_LOG_LEVEL", "info!"),
    (EmitterSettings, "EMITTER_NAME", "n" * 256),
]


@pytest.fixture(autouse=True)
def set_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SetEnvironment:
    """Begin with an environment that has none of our settings, and no file."""
    for name in list(os.environ):
        if name.startswith(("RELAY_", "EDGE_", "EMITTER_", "EVENT_RELAY_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return monkeypatch.setenv


def write_file(text: str, mode: int = 0o600) -> None:
    Path("relay.toml").write_text(text, encoding="utf-8")
    Path("relay.toml").chmod(mode)


@pytest.mark.parametrize(
    ("settings", "name", "value"), WRONG, ids=[f"{name}={value[:30]}" for _, name, value in WRONG]
)
def test_a_wrong_setting_gives_one_line_that_names_it(
    settings: type[Settings], name: str, value: str, set_environment: SetEnvironment
) -> None:
    set_environment(name, value)
    with pytest.raises(SettingsError) as caught:
        load(settings)
    text = str(caught.value)
    assert text.startswith(f"{name}: ")
    assert len(text.splitlines()) == 1


ODD_NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "1e400",
    "1e300",
    "1" + "0" * 30,
    "1" + "0" * 5000,
    "0x10",
]
NUMBERS = [
    (settings, name)
    for settings in (RelaySettings, EdgeSettings, EmitterSettings)
    for name, field in settings.model_fields.items()
    if field.annotation in (int, float)
]


@pytest.mark.parametrize(("settings", "name"), NUMBERS)
def test_every_number_has_two_bounds_and_refuses_odd_values(
    settings: type[Settings], name: str, set_environment: SetEnvironment
) -> None:
    variable = f"{settings.model_config['env_prefix']}{name.upper()}"
    bounds = {type(bound) for bound in settings.model_fields[name].metadata}
    assert len(bounds) == 2
    for value in ODD_NUMBERS:
        set_environment(variable, value)
        with pytest.raises(SettingsError) as caught:
            load(settings)
        assert str(caught.value).startswith(f"{variable}: ")
        assert len(str(caught.value).splitlines()) == 1
        assert len(str(caught.value)) < 300


def test_numbers_were_found() -> None:
    assert len(NUMBERS) > 20


@pytest.mark.parametrize("settings", [RelaySettings, EdgeSettings])
def test_a_user_without_a_home_directory_needs_a_setting(
    settings: type[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container's, whose user id no file knows."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(SettingsError, match=r"^(RELAY|EDGE)_DATA_DIR: must be set"):
        load(settings)
    assert load(settings, data_dir="/somewhere")


@pytest.mark.parametrize("settings", [RelaySettings, EdgeSettings, EmitterSettings])
def test_everything_has_a_default(settings: type[Settings]) -> None:
    load(settings)


def test_the_defaults_that_people_rely_on() -> None:
    relay, edge, emitter = load(RelaySettings), load(EdgeSettings), load(EmitterSettings)
    assert (relay.ingress, relay.egress, relay.control) == tuple(
        f"tcp://127.0.0.1:{port}" for port in (5555, 5556, 5557)
    )
    assert relay.journaled_kinds == ("event", "task", "addressed", "revocation")
    assert relay.durability == "process"
    assert (relay.retention_s, relay.retention_bytes) == (7 * 86400, 256 * 1024 * 1024)
    assert (edge.port, edge.relay_egress, edge.relay_control) == (8000, relay.egress, relay.control)
    assert edge.topic_prefixes == ("",)
    assert (emitter.relay_ingress, emitter.relay_control) == (relay.ingress, relay.control)
    assert emitter.name


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:1", "tcp://[::1]:5555", "ipc:///run/r.sock"])
@pytest.mark.parametrize(("settings", "name"), ENDPOINTS)
def test_tcp_and_ipc_endpoints_are_taken(
    settings: type[Settings], name: str, endpoint: str, set_environment: SetEnvironment
) -> None:
    set_environment(name, endpoint)
    field = name.partition("_")[2].lower()
    assert getattr(load(settings), field) == endpoint


def test_lists_are_separated_by_commas(set_environment: SetEnvironment) -> None:
    set_environment("RELAY_JOURNALED_KINDS", " task , audit,task")
    set_environment("EDGE_TOPIC_PREFIXES", "event:,resource-monitor:a")
    set_environment("EDGE_ALLOWED_ORIGINS", "https://a.org, http://b.org:8080")
    assert load(RelaySettings).journaled_kinds == ("task", "audit", "addressed", "revocation")
    assert load(EdgeSettings).topic_prefixes == ("event:", "resource-monitor:a")
    assert load(EdgeSettings).allowed_origins == ("https://a.org", "http://b.org:8080")


@pytest.mark.parametrize("level", ["error", "Error", "ERROR"])
def test_a_log_level_is_taken_in_upper_and_lower_case(
    set_environment: SetEnvironment, level: str
) -> None:
    set_environment("RELAY_LOG_LEVEL", level)
    set_environment("EDGE_LOG_LEVEL", level)
    assert {load(RelaySettings).log_level, load(EdgeSettings).log_level} == {"ERROR"}


def test_so_many_kinds_are_taken(set_environment: SetEnvironment) -> None:
    kinds = ("task", *(f"k{number}" for number in range(62)))
    set_environment("RELAY_JOURNALED_KINDS", ",".join((*kinds, "task", "k1")))
    assert load(RelaySettings).journaled_kinds == (*kinds, "addressed", "revocation")


def test_an_empty_variable_counts_as_not_set(set_environment: SetEnvironment) -> None:
    set_environment("EDGE_PORT", "")
    assert load(EdgeSettings).port == 8000


def test_an_override_wins_over_the_environment_and_none_does_not(
    set_environment: SetEnvironment,
) -> None:
    set_environment("EMITTER_NAME", "from-environment")
    assert load(EmitterSettings, name="given").name == "given"
    assert load(EmitterSettings, name=None).name == "from-environment"


def test_variables_win_over_the_file_and_overrides_over_both(
    set_environment: SetEnvironment,
) -> None:
    write_file("[edge]\nport = 1000\nworkers = 2\ntoken_ttl_s = 60")
    set_environment("EDGE_PORT", "2000")
    set_environment("EDGE_WORKERS", "")
    edge = load(EdgeSettings, token_ttl_s=70)
    assert (edge.port, edge.workers, edge.token_ttl_s) == (2000, 2, 70)
    assert EdgeSettings(token_ttl_s=80).port == 2000


def test_the_file_has_every_type_of_setting() -> None:
    write_file(
        f"""
        [relay]
        data_dir = "/data"
        heartbeat_s = 2
        log_level = "debug"
        [edge]
        allowed_origins = ["https://a.org", "http://b.org:8080"]
        trusted_proxies = "127.0.0.1, ::1"
        compression = true
        messages_per_s = 0.5
        jwt_secret = "{"s" * 32}"
        [emitter]
        name = "manager"
        relay_egress = "tcp://127.0.0.1:9"
        """
    )
    relay, edge, emitter = load(RelaySettings), load(EdgeSettings), load(EmitterSettings)
    assert (relay.data_dir, relay.heartbeat_s, relay.log_level) == (Path("/data"), 2.0, "DEBUG")
    assert edge.allowed_origins == ("https://a.org", "http://b.org:8080")
    assert edge.trusted_proxies == ("127.0.0.1", "::1")
    assert (edge.compression, edge.messages_per_s, edge.secret()) == (True, 0.5, "s" * 32)
    assert emitter.name == "manager"
    assert load(TailSettings).relay_egress == "tcp://127.0.0.1:9"


def test_the_kinds_of_the_file_are_the_journaled_ones(set_environment: SetEnvironment) -> None:
    write_file("[kinds.order]\nmode = 'stream'\n[kinds.event]\nmode = 'live'\n[kinds.log]")
    assert load(RelaySettings).journaled_kinds == ("task", "addressed", "order", "revocation")
    assert load(EmitterSettings).journaled_kinds == ("task", "addressed", "order", "revocation")
    set_environment("RELAY_JOURNALED_KINDS", "task,log")
    assert load(RelaySettings).journaled_kinds == ("task", "log", "addressed", "revocation")


@pytest.mark.parametrize(
    ("settings", "text", "problem"),
    [
        (RelaySettings, "heartbeet_s = 1", "heartbeet_s: there is no such setting; did you mean h"),
        (
            RelaySettings,
            "x = 1",
            "x: there is no such setting; known are control, curve_key_file, ",
        ),
        (RelaySettings, "heartbeat_s = '1'", "heartbeat_s: must be a number (it is '1')"),
        (RelaySettings, "heartbeat_s = true", "heartbeat_s: must be a number (it is True)"),
        (RelaySettings, "egress_hwm = 1.0", "egress_hwm: must be a whole number (it is 1.0)"),
        (RelaySettings, "heartbeat_s = 99", "heartbeat_s: Input should be less than or equal to"),
        (RelaySettings, "heartbeat_s = nan", "heartbeat_s: Input should be a finite number"),
        (RelaySettings, "data_dir = 1", "data_dir: Input is not a valid path"),
        (RelaySettings, "durability = 'x'", "durability: Input should be 'process' or 'power'"),
        (RelaySettings, "journaled_kinds = ['task']", "journaled_kinds: instead, add mode = "),
        (EdgeSettings, "compression = 'yes'", "compression: must be true or false (it is 'yes')"),
        (EdgeSettings, "allowed_origins = ['x']", "allowed_origins: must be origins such as"),
        (EdgeSettings, "allowed_origins = 5", "allowed_origins: Input should be a valid tuple"),
        (EdgeSettings, "jwt_secret = 'short'", "jwt_secret: must have at least 32 bytes"),
        (EdgeSettings, "port = 1979-05-27", "port: must be a whole number (it is datetime.date("),
        (
            EmitterSettings,
            "egress = 'x'",
            "egress: there is no such setting; known are curve_key_file, n",
        ),
        (EmitterSettings, "journaled_kinds = []", "journaled_kinds: instead, add mode = "),
        (TailSettings, "relay_egress = 'x'", "relay_egress: must be tcp://HOST:PORT or ipc://PATH"),
    ],
)
def test_a_wrong_setting_in_the_file_gives_one_line_that_names_it(
    settings: type[Settings], text: str, problem: str
) -> None:
    section = str(settings.model_config["env_prefix"]).rstrip("_").lower()
    write_file(f"[{section}]\n{text}")
    with pytest.raises(SettingsError) as caught:
        load(settings)
    line = str(caught.value)
    assert line.startswith(f"relay.toml: [{section}] {problem}")
    assert len(line.splitlines()) == 1
    assert "'short'" not in line, "a secret is not shown"


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
def test_a_file_with_a_secret_that_others_may_use_is_refused(
    mode: int, set_environment: SetEnvironment
) -> None:
    write_file(f'[edge]\nport = 9000\njwt_secret = "{"s" * 32}"', mode)
    line = (
        "relay.toml: [edge] jwt_secret: other users may use it"
        f" (its mode is {mode:03o}): chmod 600 relay.toml"
    )
    # Also if a variable has another secret: whoever reads the file may keep it.
    for _ in range(2):
        with pytest.raises(SettingsError) as caught:
            load(EdgeSettings)
        assert str(caught.value) == line
        set_environment("EDGE_JWT_SECRET", "t" * 32)
    load(RelaySettings)
    Path("relay.toml").chmod(0o600)
    assert load(EdgeSettings).port == 9000
    write_file("[edge]\nport = 9000", mode)
    assert load(EdgeSettings).port == 9000, "without a secret the file may be read by all"


def test_a_wrong_variable_is_blamed_although_the_file_has_the_setting(
    set_environment: SetEnvironment,
) -> None:
    write_file("[edge]\nport = 1000")
    set_environment("EDGE_PORT", "x")
    with pytest.raises(SettingsError, match=r"^EDGE_PORT: "):
        load(EdgeSettings)
    with pytest.raises(SettingsError, match=r"^EDGE_PORT: .*\(it is '0'\)$"):
        load(EdgeSettings, port=0)


def test_variables_of_other_software_are_neither_refused_nor_read(
    set_environment: SetEnvironment,
) -> None:
    """Kubernetes sets EDGE_PORT for a service named `edge`."""
    set_environment("EDGE_CONFIG", "x")
    set_environment("EDGE_PORT", "tcp://10.0.0.1:8000")
    with pytest.raises(SettingsError, match=r"^EDGE_CONFIG: "):
        load(EdgeSettings)
    write_file("ignore_variables = ['EDGE_CONFIG', 'EDGE_PORT']\n[edge]\nport = 9000")
    assert load(EdgeSettings).port == 9000


def test_an_unknown_override_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^EMITTER_NMAE: "):
        load(EmitterSettings, nmae="typo")


def test_settings_are_frozen() -> None:
    settings = load(RelaySettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.ingress = "tcp://127.0.0.1:1"


def test_refuse_prints_one_line_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        refuse("event-relay", SettingsError("RELAY_INGRESS: must be tcp://HOST:PORT"))
    assert caught.value.code == 2
    assert capsys.readouterr().err == "event-relay: RELAY_INGRESS: must be tcp://HOST:PORT\n"


def test_a_secret_that_is_too_short_is_not_shown(set_environment: SetEnvironment) -> None:
    set_environment("EDGE_JWT_SECRET", "hunter2")
    with pytest.raises(SettingsError) as caught:
        load(EdgeSettings)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [",", " ", " , "])
def test_topic_prefixes_without_any_prefix_are_refused(
    value: str, set_environment: SetEnvironment
) -> None:
    """An edge that serves nothing is a mistake, not a wish."""
    set_environment("EDGE_TOPIC_PREFIXES", value)
    with pytest.raises(SettingsError, match=r"^EDGE_TOPIC_PREFIXES: "):
        load(EdgeSettings)


def test_a_high_water_mark_that_zeromq_cannot_hold_is_refused(
    set_environment: SetEnvironment,
) -> None:
    set_environment("RELAY_EGRESS_HWM", str(2**31))
    with pytest.raises(SettingsError, match=r"^RELAY_EGRESS_HWM: "):
        load(RelaySettings)


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_endpoint_is_taken_or_refused_in_one_line(value: str) -> None:
    try:
        settings = load(EmitterSettings, relay_ingress=value)
    except SettingsError as error:
        line = str(error)
    else:
        line = settings.relay_ingress
        assert line.startswith(("tcp://", "ipc://"))
    assert line.isprintable() or line == value


class TestSecret:
    """The secret that signs tokens."""

    def test_a_given_secret_is_used(self, tmp_path: Path) -> None:
        settings = load(EdgeSettings, data_dir=tmp_path / "none", jwt_secret="s" * 32)
        assert settings.secret() == "s" * 32
        assert not (tmp_path / "none").exists()

    def test_it_is_made_once_and_only_the_owner_may_read_it(self, tmp_path: Path) -> None:
        settings = load(EdgeSettings, data_dir=tmp_path / "deep" / "dir")
        secret = settings.secret()
        assert len(secret.encode()) >= 32
        assert settings.secret() == secret
        assert (tmp_path / "deep" / "dir" / "jwt-secret").stat().st_mode & 0o777 == 0o600

    def test_a_file_with_too_little_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "jwt-secret").write_text("short")
        (tmp_path / "jwt-secret").chmod(0o600)
        with pytest.raises(SettingsError, match=r"^EDGE_DATA_DIR: .*at least 32 bytes"):
            load(EdgeSettings, data_dir=tmp_path).secret()

    def test_a_file_that_is_not_text_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "jwt-secret").write_bytes(b"\xff" * 40)
        (tmp_path / "jwt-secret").chmod(0o600)
        with pytest.raises(SettingsError, match=r"^EDGE_DATA_DIR: "):
            load(EdgeSettings, data_dir=tmp_path).secret()

    def test_a_directory_that_cannot_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(SettingsError, match=r"^EDGE_DATA_DIR: "):
            load(EdgeSettings, data_dir=tmp_path / "file" / "dir").secret()

    def test_a_file_may_hold_several(self, tmp_path: Path) -> None:
        path = tmp_path / "secrets"
        settings = load(EdgeSettings, data_dir=tmp_path, jwt_secret_file=path)
        with pytest.raises(SettingsError, match=r"^EDGE_JWT_SECRET_FILE: .*32 bytes"):
            settings.secrets()
        path.touch(0o600)
        path.write_text(f"{'n' * 32}\n\n  {'o' * 40}  \n")
        assert settings.secrets() == ("n" * 32, "o" * 40)
        assert settings.secret() == "n" * 32
        for content, problem in (
            ("", "32 bytes"),
            (f"{'n' * 32}\nshort\n", "32 bytes"),
            (f"{'n' * 32}\n" * 9, "more than 8"),
        ):
            path.write_text(content)
            with pytest.raises(SettingsError, match=problem):
                settings.secrets()
        path.rename(tmp_path / "jwt-secret")
        with pytest.raises(SettingsError, match=r"^EDGE_DATA_DIR: .*more than 8"):
            load(EdgeSettings, data_dir=tmp_path).secrets()

    def test_none_is_read_or_made_where_none_is_used(self, tmp_path: Path) -> None:
        settings = load(EdgeSettings, data_dir=tmp_path / "none", jwt_algorithms="RS256")
        assert settings.secrets() == ()
        assert not (tmp_path / "none").exists()

    def test_it_does_not_show_in_the_settings(self) -> None:
        assert "s" * 32 not in repr(load(EdgeSettings, jwt_secret="s" * 32))
