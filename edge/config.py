"""The settings of the edge: the `EDGE_*` variables."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from edge.core.catch_up_budget import CatchUpLimits
from edge.core.hub.subscription_quota import QuotaLimits
from edge.core.identity.claims import LEEWAY_S, RESERVED_CLAIMS, ClaimRules
from edge.core.identity.credentials import COOKIE_NAME, HOST_PREFIX, CredentialRules
from edge.core.identity.keys import ALGORITHMS, HS256, MAX_PUBLIC_KEYS, MIN_SECRET_BYTES
from edge.core.identity.proxies import TrustedProxies
from edge.core.protocol.json_text import MAX_DEPTH
from edge.core.session import SessionLimits
from edge.core.websocket.close_codes import CloseCodes
from edge.secret_files import refuse_lax, secrets_in
from relay.shared.addresses import parse_listen_address
from relay.shared.contract_modules import EXAMPLE
from relay.shared.relay_client import RelayClientSettings
from relay.shared.settings import (
    MAX_BYTES,
    MAX_COUNT,
    CommaSeparated,
    LogLevel,
    PeerEndpoint,
    SettingsError,
    default_data_dir,
    settings_config,
)
from relay.shared.time_share import TimeShare
from relay.wire.errors import InvalidTopic
from relay.wire.topics import parse_pattern

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z")
"""A token of HTTP (RFC 9110, section 5.6.2), as names of cookies are."""
MAX_TTL_S = 10 * 365 * 86_400
MAX_MESSAGE_BYTES = 2**30

MAX_LEEWAY_S = 600
_JWKS_URL = re.compile(r"https?://[^\s@#]+\Z")
_GRANTS = ("loopback", "user", "admin", "everybody")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z|\[[0-9A-Fa-f:.]+\]\Z")
_ORIGIN = re.compile(r"https?://[^/\s]+\Z")


def _check_prefixes(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    if not prefixes:
        raise ValueError("must name at least one topic prefix, such as event:")
    for prefix in prefixes:
        try:
            parse_pattern(f"{prefix}*")
        except InvalidTopic as error:
            raise ValueError(f"must be topic prefixes such as event:,task: ({error})") from None
    return prefixes


def _check_host(host: str) -> str:
    parse_listen_address(host)
    return host


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if not _ORIGIN.match(origin):
            raise ValueError("must be origins such as https://example.org, separated by commas")
    return origins


def _check_cookie_name(name: str | None) -> str | None:
    if name is not None and not _TOKEN.match(name):
        raise ValueError("must be 1 to 100 letters, digits and any of !#$%&'*+-.^_`|~")
    if name is not None and name.startswith("__"):
        raise ValueError("must not begin with __: by TLS, the edge itself puts __Host- before it")
    return name


def _check_grants(grants: tuple[str, ...]) -> tuple[str, ...]:
    for grant in grants:
        if grant not in _GRANTS and not (grant.startswith("file:") and len(grant) > len("file:")):
            raise ValueError(f"must be of {', '.join(_GRANTS)} and file:PATH, separated by commas")
    return grants


def _check_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        if not _HOST.match(host):
            raise ValueError(
                "must be names such as example.org or *.example.org, without a scheme or a port"
            )
    return tuple(host.lower() for host in hosts)


def _check_proxies(proxies: tuple[str, ...]) -> tuple[str, ...]:
    try:
        TrustedProxies.parse(proxies)
    except ValueError:
        raise ValueError("must be addresses or networks such as 10.0.0.0/8, or *") from None
    return proxies


def _check_modules(modules: tuple[str, ...]) -> tuple[str, ...]:
    for name in modules:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError("must be names of modules such as myapp.events, separated by commas")
    return modules


def _check_secret(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"must have at least {MIN_SECRET_BYTES} bytes")
    return secret


def _check_algorithms(algorithms: tuple[str, ...]) -> tuple[str, ...]:
    if not algorithms or not set(algorithms) <= set(ALGORITHMS):
        raise ValueError(f"must be some of {', '.join(ALGORITHMS)}, separated by commas")
    return algorithms


def _check_public_keys(paths: tuple[str, ...]) -> tuple[str, ...]:
    if len(paths) > MAX_PUBLIC_KEYS:
        raise ValueError(f"names {len(paths)} files, the limit is {MAX_PUBLIC_KEYS}")
    return paths


def _check_jwks(source: str | None) -> str | None:
    if source is not None and "://" in source and not _is_http_url(source):
        raise ValueError("must be a path, or a URL such as https://id.example.org/jwks.json")
    return source


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(_JWKS_URL.match(text) and parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_claim(name: str) -> str:
    if name in RESERVED_CLAIMS or not 1 <= len(name) <= 255:
        raise ValueError(f"must be a claim, and none of {', '.join(sorted(RESERVED_CLAIMS))}")
    return name


ClaimName = Annotated[str, AfterValidator(_check_claim)]


class EdgeSettings(RelayClientSettings):
    """The address of the edge, the relay that it follows, the limits of its clients."""

    model_config = settings_config("EDGE_")

    host: Annotated[str, AfterValidator(_check_host)] = "127.0.0.1"
    """Where to listen: an address, a name, or `unix:PATH`."""
    port: int = Field(default=8000, ge=1, le=65535)
    tls_cert: Path | None = None
    """Certificate in PEM, with which the edge itself speaks TLS."""
    tls_key: Path | None = None
    workers: int = Field(default=1, ge=1, le=256)
    relay_egress: PeerEndpoint = "tcp://127.0.0.1:5556"
    relay_control: PeerEndpoint = "tcp://127.0.0.1:5557"
    relay_timeout_s: float = Field(default=3.0, ge=0.2, le=60)
    """Silence after which the relay counts as lost."""
    topic_prefixes: Annotated[CommaSeparated, AfterValidator(_check_prefixes)] = ("",)
    """The topics this edge serves; all by default."""
    data_dir: Path = Field(default_factory=lambda: default_data_dir("EDGE_DATA_DIR"))
    """Directory of the secret and the users file, unless those are given."""
    jwt_secret: Annotated[SecretStr | None, AfterValidator(_check_secret)] = None
    jwt_secret_file: Path | None = None
    """A file with a secret in each line: the first signs, all verify."""
    jwt_algorithms: Annotated[CommaSeparated, AfterValidator(_check_algorithms)] = (HS256,)
    """Signatures that tokens may have. Without HS256 the edge issues none itself."""
    jwt_public_keys: Annotated[CommaSeparated, AfterValidator(_check_public_keys)] = ()
    """Files with a public key each, as PEM."""
    jwt_jwks: Annotated[str | None, AfterValidator(_check_jwks)] = None
    """The keys of an identity provider: a file or a URL."""
    jwt_jwks_interval_s: float = Field(default=10.0, ge=0.1, le=3600)
    """Seconds at least between two readings of them."""
    jwt_jwks_max_age_s: float = Field(default=300.0, ge=1, le=86_400)
    """Seconds after which they are read again."""
    jwt_issuer: str | None = None
    jwt_audience: CommaSeparated = ()
    jwt_leeway_s: float = Field(default=LEEWAY_S, ge=0, le=MAX_LEEWAY_S)
    """Seconds that the clock of another issuer may be ahead."""
    jwt_user_claim: ClaimName = "sub"
    jwt_role_claim: ClaimName = "role"
    users_file: Path | None = None
    token_ttl_s: int = Field(default=8 * 3600, ge=60, le=MAX_TTL_S)
    remembered_ttl_s: int = Field(default=28 * 86_400, ge=60, le=MAX_TTL_S)
    """Seconds that a token is valid when the user asked to be remembered."""
    cookie_name: Annotated[str | None, AfterValidator(_check_cookie_name)] = None
    """The cookie that signing in sets; by default `access_token_cookie_` and the port."""
    allowed_origins: Annotated[CommaSeparated, AfterValidator(_check_origins)] = ()
    """Origins, beside the edge's own, whose pages may use the cookie on `/ws`."""
    metrics_access: Annotated[CommaSeparated, AfterValidator(_check_grants)] = ("loopback",)
    """Those who may read `/metrics`."""
    docs_access: Annotated[CommaSeparated, AfterValidator(_check_grants)] = ("loopback",)
    """Those who may read the documentation of the API."""
    admin_access: Literal["loopback", "everybody"] = "loopback"
    """From where the role `admin` may act on users."""
    allowed_hosts: Annotated[CommaSeparated, AfterValidator(_check_hosts)] = ()
    """Names by which requests may call this edge; all if empty."""
    trusted_proxies: Annotated[CommaSeparated, AfterValidator(_check_proxies)] = (
        "127.0.0.1",
        "::1",
    )
    """Addresses and networks of proxies whose forwarded headers count."""
    authentication_timeout_s: float = Field(default=5.0, ge=0.1, le=60)
    close_codes: CloseCodes = CloseCodes.STANDARD
    """Those in close frames: `legacy` for front ends that do not come back after 4000 and more."""
    max_message_bytes: int = Field(default=64 * 1024, ge=1024, le=MAX_MESSAGE_BYTES)
    max_json_depth: int = Field(default=64, ge=2, le=MAX_DEPTH)
    """Arrays and objects in each other in one client message."""
    max_connections: int = Field(default=20_000, ge=1, le=MAX_COUNT)
    max_connections_per_user: int = Field(default=1_000, ge=1, le=MAX_COUNT)
    processor_share_per_user: float = Field(default=0.1, gt=0, le=1)
    processor_burst_s: float = Field(default=1.0, ge=0.01, le=3600)
    """The share of a worker's time that the messages of one user may take in the long run, and the
    seconds of it at once."""
    max_connections_per_address: int = Field(default=5_000, ge=1, le=MAX_COUNT)
    """Connections of one address that is no trusted proxy."""
    accepts_per_s: float = Field(default=2_000.0, gt=0, le=MAX_COUNT)
    accept_burst: int = Field(default=20_000, ge=1, le=MAX_COUNT)
    """New connections of a worker, whoever makes them, in the long run and at once."""
    connections_per_s: float = Field(default=200.0, gt=0, le=MAX_COUNT)
    connection_burst: int = Field(default=5_000, ge=1, le=MAX_COUNT)
    """New connections of one address, in the long run and at once."""
    max_unauthenticated: int = Field(default=5_000, ge=1, le=MAX_COUNT)
    """WebSockets whose user is not known, and as many connections without a whole request."""
    max_subscriptions: int = Field(default=1_000, ge=1, le=MAX_COUNT)
    max_subscriptions_per_user: int = Field(default=10_000, ge=1, le=MAX_COUNT)
    max_subscription_bytes_per_user: int = Field(default=2 * 1024 * 1024, ge=255, le=MAX_BYTES)
    """Bytes of the topics that one user is subscribed to."""
    max_subscriptions_total: int = Field(default=200_000, ge=1, le=MAX_COUNT)
    max_subscription_total_bytes: int = Field(default=32 * 1024 * 1024, ge=255, le=MAX_BYTES)
    """Bytes of the topics that all users of a worker are subscribed to."""
    max_queued_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, le=MAX_BYTES)
    """Bytes that may wait for one slow client."""
    max_queued_total_bytes: int = Field(default=256 * 1024 * 1024, ge=1024, le=MAX_BYTES)
    """Bytes that may wait for all slow clients of a worker together."""
    admission_wait_s: float = Field(default=5.0, ge=0.05, le=60)
    """New clients are refused (4013) when they would wait longer than this."""
    compression: bool = False
    """Whether clients that support it receive compressed messages."""
    history_bytes: int = Field(default=64 * 1024 * 1024, ge=64 * 1024, le=MAX_BYTES)
    """Memory of a worker for the recent events of all streams, for resuming clients."""
    catch_up_events_per_s: float = Field(default=50_000.0, gt=0, le=MAX_COUNT)
    catch_up_event_burst: int = Field(default=200_000, ge=1, le=MAX_COUNT)
    """Past events that the edge looks at for one user, in the long run and at once."""
    catch_up_bytes_per_s: int = Field(default=16 * 1024 * 1024, ge=1024, le=MAX_BYTES)
    catch_up_byte_burst: int = Field(default=64 * 1024 * 1024, ge=1024, le=MAX_BYTES)
    """Bytes of past events that are read or sent for one user, in the long run and at once."""
    messages_per_s: float = Field(default=100.0, gt=0, le=MAX_COUNT)
    message_burst: int = Field(default=2_000, ge=1, le=MAX_COUNT)
    bytes_per_s: int = Field(default=4 * 1024 * 1024, ge=1024, le=MAX_BYTES)
    byte_burst: int = Field(default=32 * 1024 * 1024, ge=64 * 1024, le=MAX_BYTES)
    """Bytes that come from one client, in the long run and at once."""
    position_interval_s: float = Field(default=20.0, ge=0.1, le=86_400)
    contracts: Annotated[CommaSeparated, AfterValidator(_check_modules)] = (EXAMPLE,)
    """Modules that register models of events, for `/api/topics` and `/asyncapi.json`."""
    max_publish_bytes: int = Field(default=2 * 1024 * 1024, ge=1024, le=MAX_MESSAGE_BYTES)
    """Bytes of a request to publish."""
    publish_per_s: float = Field(default=1_000.0, gt=0, le=MAX_COUNT)
    publish_burst: int = Field(default=2_000, ge=1, le=MAX_COUNT)
    """Events of one user by HTTP, in the long run and at once."""
    publish_timeout_s: float = Field(default=5.0, ge=0.1, le=60)
    """Seconds for the relay to acknowledge published events."""
    log_level: LogLevel = "INFO"

    @property
    def users_path(self) -> Path:
        """The path of the users file."""
        return self.users_file or self.data_dir / "users.json"

    @property
    def own_cookie(self) -> str:
        """The name of the cookie that signing in sets; by TLS with `__Host-` before it.

        Browsers keep cookies by host, not by port, so edges on one host need different names.
        """
        return self.cookie_name or f"{COOKIE_NAME}_{self.port}"

    @property
    def credential_rules(self) -> CredentialRules:
        """Where to look for the tokens in requests."""
        own = self.own_cookie
        names = tuple(dict.fromkeys((HOST_PREFIX + own, own, COOKIE_NAME)))
        proxies = TrustedProxies.parse(self.trusted_proxies)
        return CredentialRules(names, self.allowed_origins, proxies, self.allowed_hosts)

    @property
    def grants(self) -> dict[str, tuple[str, ...]]:
        """The grants to read, by the name of their setting."""
        return {
            "EDGE_METRICS_ACCESS": self.metrics_access,
            "EDGE_DOCS_ACCESS": self.docs_access,
        }

    @property
    def claim_rules(self) -> ClaimRules:
        """The rules for the claims of tokens."""
        return ClaimRules(
            self.jwt_user_claim,
            self.jwt_role_claim,
            self.jwt_issuer,
            self.jwt_audience,
            self.jwt_leeway_s,
        )

    @property
    def session_limits(self) -> SessionLimits:
        """The limits of one client."""
        return SessionLimits(
            self.messages_per_s,
            self.message_burst,
            self.max_subscriptions,
            self.max_connections_per_user,
            self.bytes_per_s,
            # Two of the largest messages have room.
            max(self.byte_burst, 2 * self.max_message_bytes),
            self.max_json_depth,
        )

    @property
    def user_share(self) -> TimeShare:
        """The share of a worker's time that the messages of one user may take."""
        return TimeShare(self.processor_share_per_user, self.processor_burst_s)

    @property
    def catch_up_limits(self) -> CatchUpLimits:
        """The limits of the catch-ups of one user."""
        return CatchUpLimits(
            self.catch_up_events_per_s,
            self.catch_up_event_burst,
            self.catch_up_bytes_per_s,
            self.catch_up_byte_burst,
        )

    @property
    def quota_limits(self) -> QuotaLimits:
        """The limits of the subscriptions of one user, and of a worker."""
        return QuotaLimits(
            self.max_subscriptions_per_user,
            self.max_subscription_bytes_per_user,
            self.max_subscriptions_total,
            self.max_subscription_total_bytes,
        )

    def users(self) -> Path:
        """Return the path of the users file. Raises `SettingsError` if others may use it."""
        setting = "EDGE_DATA_DIR" if self.users_file is None else "EDGE_USERS_FILE"
        refuse_lax(setting, self.users_path)
        return self.users_path

    def secrets(self) -> tuple[str, ...]:
        """Return the secrets: the first signs tokens, all verify them. None without HS256.

        They are the given one, or those in a file, one a line; without either, one is made in
        `data_dir`. Raises `SettingsError` when the file cannot be read or made, or
        others may use it.
        """
        if HS256 not in self.jwt_algorithms:
            return ()
        if self.jwt_secret is not None:
            if self.jwt_secret_file is not None:
                raise SettingsError("EDGE_JWT_SECRET_FILE: EDGE_JWT_SECRET is given as well")
            return (self.jwt_secret.get_secret_value(),)
        if self.jwt_secret_file is not None:
            return secrets_in("EDGE_JWT_SECRET_FILE", self.jwt_secret_file, may_make=False)
        return secrets_in("EDGE_DATA_DIR", self.data_dir / "jwt-secret", may_make=True)

    def secret(self) -> str:
        """Return the secret that signs tokens. Raises `SettingsError`."""
        return self.secrets()[0]
