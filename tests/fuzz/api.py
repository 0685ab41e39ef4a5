"""The HTTP API of an edge against its own OpenAPI document, by schemathesis.

Schemathesis is optional, as Atheris is: it takes a second to import, and `make fuzz` installs it.
"""

import importlib
import importlib.util
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase

from tests.e2e.attacks.honest import Honest
from tests.fuzz.budget import Budget
from tests.fuzz.edge_samples import RELAY_TOML
from tests.fuzz.watched import Watched
from tests.support.cluster import Cluster

EXAMPLES_EACH = 50
"""Requests of an operation, in its turn."""
TIMEOUT_S = 30
TOKEN_TTL_S = 86_400.0
ROLES = ("user", "admin", "guest", "")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


def is_installed() -> bool:
    """Return whether schemathesis is there."""
    return importlib.util.find_spec("schemathesis") is not None


def fuzz_api(budget: Budget, seed: int) -> str:
    """Send requests made of the document to each operation in turns; return what was done.

    Raises `AssertionError` for an answer that the document does not have, and for a 5xx.
    """
    if not is_installed():
        return "schemathesis is not installed: nothing was done"
    with tempfile.TemporaryDirectory() as directory, closing(Cluster(Path(directory))) as cluster:
        cluster.configure(RELAY_TOML)
        cluster.token_ttl_s = TOKEN_TTL_S
        relay = cluster.start_relay()
        honest = Honest(cluster, relay)
        honest.start()
        watched = Watched(honest.edge.process)
        api = Api(cluster, honest.edge.url)
        for number in budget.numbers():
            api.try_operation(number, seed)
            honest.wait_for_more(1)
            watched.look()
        honest.wait_for_more(20)
        watched.settle()
        honest.stop()
        figures = ", ".join(f"{name} {count}" for name, count in api.statuses.most_common())
        return f"{api.statuses.total()} requests: {figures}; {watched.report()}"


class Api:
    """The operations of a running edge."""

    def __init__(self, cluster: Cluster, url: str) -> None:
        schemathesis = importlib.import_module("schemathesis")
        checks = importlib.import_module("schemathesis.checks")
        checks.load_all_checks()
        self._checks = checks.CHECKS.get_by_names(CHECKS)
        self._cluster, self._url = cluster, url
        self._session = importlib.import_module("requests").Session()
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        self._modes = list(schemathesis.GenerationMode)
        """Valid requests, and others."""
        self._operations = [each.ok() for each in schema.get_all_operations()]
        self.statuses: Counter[str] = Counter()

    def try_operation(self, number: int, seed: int) -> None:
        """Send requests to the operation whose turn it is."""
        turn, place = divmod(number, len(self._operations))
        operation = self._operations[place]
        strategy = operation.as_strategy(generation_mode=self._modes[turn % len(self._modes)])
        run: Callable[[], None] = hypothesis.seed(seed + number)(
            hypothesis.settings(
                max_examples=EXAMPLES_EACH,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )(hypothesis.given(case=strategy)(self._try_case))
        )
        try:
            run()
        except hypothesis.errors.Unsatisfiable:
            # Nothing can be wrong in a request without parameters.
            return
        except (Exception, BaseExceptionGroup) as error:
            # Several failures are a group.
            again = f"api --seed {seed} --only {number}"
            raise AssertionError(f"{operation.label}: {error}; again: {again}") from error

    def _try_case(self, case: Any) -> None:
        role = ROLES[self.statuses.total() % len(ROLES)]
        body = case.body
        if isinstance(body, dict) and body.get("all"):
            # It would be obeyed: nobody's token would be valid any more.
            return
        # Another user each time: tokens may be revoked.
        username = f"fuzz-{self.statuses.total()}"
        token = self._cluster.token(username, role) if role else "none"
        headers = {"Authorization": f"Bearer {token}"}
        sent = case.as_transport_kwargs(base_url=self._url, headers=headers)
        with self._session.request(**sent, stream=True, timeout=TIMEOUT_S) as response:
            self.statuses[str(response.status_code)] += 1
            if response.headers.get("Content-Type", "").startswith("text/event-stream"):
                # It never ends.
                return
            case.validate_response(response, checks=self._checks)
