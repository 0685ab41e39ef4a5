"""The HTTP of front ends written for other servers: JSON sign-in, sign-out by GET, tasks, CORS."""

import http.client
import json
from http.cookies import SimpleCookie
from typing import Any, NamedTuple

import pytest

from tests.support.cluster import Cluster, Edge
from tests.support.passwords import cheap_users
from tests.support.waiting import wait_for

PASSWORD = "correct horse"
FRIEND = "https://pages.example"
STRANGER = "https://evil.example"
CORS_HEADER = "access-control-"


class Answer(NamedTuple):
    """An answer of the edge; the names of headers are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cors(self) -> dict[str, str]:
        """The headers that let a page elsewhere read the answer."""
        return {name: text for name, text in self.headers.items() if name.startswith(CORS_HEADER)}


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    cheap_users(shared_cluster).add("alice", PASSWORD)
    return shared_cluster


@pytest.fixture(scope="module", params=["our server", "another server"])
def edge(request: pytest.FixtureRequest, cluster: Cluster) -> Edge:
    more: dict[str, Any] = {
        "EDGE_ALLOWED_ORIGINS": FRIEND,
        "EDGE_TOKEN_TTL_S": "1000",
        "EDGE_REMEMBERED_TTL_S": "9000",
    }
    if request.param == "our server":
        return cluster.start_edge(**more)
    return cluster.start_plain_edge(**more)


def ask(
    edge: Edge, method: str, path: str, body: bytes | str | None = None, **headers: str
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=20)
    try:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def sign_in(edge: Edge, content: object, **headers: str) -> Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return ask(
        edge, "POST", "/auth/token", body, **({"Content_Type": "application/json"} | headers)
    )


def cookie_of(answer: Answer) -> str:
    """Return the cookie as a browser would send it; "" if the answer clears it."""
    [(name, morsel)] = SimpleCookie(answer.headers["set-cookie"]).items()
    return f"{name}={morsel.value}" if morsel.value else ""


class TestSignIn:
    """`POST /auth/token` with JSON and with forms."""

    def test_json_gets_a_token_and_a_cookie(self, edge: Edge) -> None:
        answer = sign_in(edge, {"username": "alice", "password": PASSWORD})
        assert answer.status == 200
        assert (answer.json["token_type"], answer.json["expires_in"]) == ("bearer", 1000)
        assert cookie_of(answer).endswith(answer.json["access_token"])
        assert answer.headers["cache-control"] == "no-store"
        bearer = f"Bearer {answer.json['access_token']}"
        assert ask(edge, "GET", "/auth/me", Authorization=bearer).json["username"] == "alice"

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("application/json", b'{"username":"alice","password":"%s","remember_me":true}'),
            (
                "Application/JSON; charset=utf-8",
                b'{"username":"alice","password":"%s","remember_me":1}',
            ),
            ("application/x-www-form-urlencoded", b"username=alice&password=%s&remember_me=on"),
            (
                "multipart/form-data; boundary=x",
                b'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\nalice\r\n'
                b'--x\r\nContent-Disposition: form-data; name="password"\r\n\r\n%s\r\n'
                b'--x\r\nContent-Disposition: form-data; name="remember_me"\r\n\r\ntrue\r\n'
                b"--x--\r\n",
            ),
        ],
    )
    def test_who_is_to_be_remembered_gets_a_longer_token(
        self, edge: Edge, content_type: str, body: bytes
    ) -> None:
        answer = sign_in(edge, body % PASSWORD.encode(), Content_Type=content_type)
        assert (answer.status, answer.json["expires_in"]) == (200, 9000)
        [morsel] = SimpleCookie(answer.headers["set-cookie"]).values()
        assert int(morsel["max-age"]) > 9000

    @pytest.mark.parametrize(
        ("body", "status", "place"),
        [
            ({"username": "alice"}, 422, ["body", "password"]),
            ({"username": "alice", "password": ""}, 422, ["body", "password"]),
            ({"username": 5, "password": PASSWORD}, 422, ["body", "username"]),
            (
                {"username": "alice", "password": PASSWORD, "remember_me": "soon"},
                422,
                ["body", "remember_me"],
            ),
            ([1], 422, ["body"]),
            (b"null", 422, ["body"]),
            (b"{", 400, None),
            (b"\xff", 400, None),
            (b"", 400, None),
        ],
    )
    def test_a_wrong_body_is_refused_by_name_and_not_shown_again(
        self, edge: Edge, body: object, status: int, place: list[str] | None
    ) -> None:
        answer = sign_in(edge, body)
        assert answer.status == status
        assert "set-cookie" not in answer.headers
        if place is not None:
            assert [problem["loc"] for problem in answer.json["detail"]] == [place]
        assert PASSWORD not in answer.body.decode()
        assert "Traceback" not in edge.process.output()

    @pytest.mark.parametrize("content_type", ["text/plain", "", "application/octet-stream"])
    def test_json_of_another_type_is_no_json(self, edge: Edge, content_type: str) -> None:
        """A page elsewhere may send such a request without being asked for a preflight."""
        body = {"username": "alice", "password": PASSWORD}
        assert sign_in(edge, body, Content_Type=content_type).status == 422

    def test_the_wrong_password_is_401(self, edge: Edge) -> None:
        answer = sign_in(edge, {"username": "alice", "password": "wrong"})
        assert (answer.status, answer.json) == (401, {"detail": "Incorrect username or password"})


class TestSignOut:
    """`GET /auth/logout`."""

    def test_it_clears_the_cookie(self, edge: Edge) -> None:
        cookie = cookie_of(sign_in(edge, {"username": "alice", "password": PASSWORD}))
        answer = ask(edge, "GET", "/auth/logout", Cookie=cookie)
        assert (answer.status, answer.json) == (
            200,
            {"status": "success", "message": "Successfully logged out."},
        )
        assert cookie_of(answer) == ""

    def test_a_request_of_another_site_comes_without_the_cookie_and_clears_nothing(
        self, edge: Edge
    ) -> None:
        answer = ask(edge, "GET", "/auth/logout")
        assert answer.status == 401
        assert "set-cookie" not in answer.headers

    @pytest.mark.parametrize("site", ["same-site", "cross-site"])
    def test_a_page_of_the_same_site_clears_nothing(
        self, edge: Edge, cluster: Cluster, site: str
    ) -> None:
        cookie = f"access_token_cookie={cluster.token('alice')}"
        answer = ask(edge, "GET", "/auth/logout", Cookie=cookie, Sec_Fetch_Site=site)
        assert answer.status == 403
        assert "set-cookie" not in answer.headers

    def test_an_allowed_origin_and_a_page_with_the_token_sign_out(
        self, edge: Edge, cluster: Cluster
    ) -> None:
        for shows_token in (False, True):
            # The one before is revoked.
            token = cluster.token("alice")
            cookie = f"access_token_cookie={token}"
            more = {"Authorization": f"Bearer {token}"} if shows_token else {"Origin": FRIEND}
            answer = ask(
                edge, "GET", "/auth/logout", Cookie=cookie, Sec_Fetch_Site="same-site", **more
            )
            assert answer.status == 200, more


class TestTasks:
    """`GET /api/tasks/status/{id}` and `/api/tasks/list`."""

    def test_the_owner_reads_status_and_list(self, edge: Edge, cluster: Cluster) -> None:
        source = f"m{edge.port}"
        names = [f"{source}/a", f"{source}-b"]
        emitter = cluster.emitter(source)
        users = {name: f"{name}-{source}" for name in ("owner", "other")}
        states: list[dict[str, Any]] = [
            {
                "status": "success",
                "message": "Done",
                "result": {"n": 1},
                "username": users["owner"],
            },
            {"status": "in_progress", "message": "…", "result": None, "username": users["owner"]},
        ]
        for name, state in zip(names, states, strict=True):
            emitter.emit(f"task:{name}", state, username=users["owner"])
        bearer = {
            name: {"Authorization": f"Bearer {cluster.token(user)}"} for name, user in users.items()
        }
        wait_for(
            lambda: len(ask(edge, "GET", "/api/tasks/list", **bearer["owner"]).json) == 2, "tasks"
        )
        assert ask(edge, "GET", "/api/tasks/list", **bearer["owner"]).json == [
            {**state, "id": name} for name, state in zip(names, states, strict=True)
        ]
        for name, state in zip(names, states, strict=True):
            path = f"/api/tasks/status/{name}"
            assert ask(edge, "GET", path, **bearer["owner"]).json == state
            answer = ask(edge, "GET", path, **bearer["other"])
            nowhere = ask(edge, "GET", "/api/tasks/status/none", **bearer["other"])
            assert (answer.status, answer.json) == (404, {"detail": "Task not found"})
            assert (nowhere.status, nowhere.json) == (answer.status, answer.json)
        assert ask(edge, "GET", "/api/tasks/list", **bearer["other"]).json == []

    @pytest.mark.parametrize("path", ["/api/tasks/list", "/api/tasks/status/x"])
    def test_strangers_are_refused(self, edge: Edge, path: str) -> None:
        assert ask(edge, "GET", path).status == 401


class TestOtherOrigins:
    """CORS for `EDGE_ALLOWED_ORIGINS` on `/auth` and `/api`."""

    def preflight(self, edge: Edge, path: str, origin: str) -> Answer:
        return ask(
            edge,
            "OPTIONS",
            path,
            Origin=origin,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="authorization,content-type",
        )

    @pytest.mark.parametrize("path", ["/auth/token", "/api/tasks/list"])
    def test_an_allowed_origin_passes_the_preflight(self, edge: Edge, path: str) -> None:
        answer = self.preflight(edge, path, FRIEND)
        assert answer.status == 200
        assert answer.cors["access-control-allow-origin"] == FRIEND
        assert answer.cors["access-control-allow-credentials"] == "true"
        assert "POST" in answer.cors["access-control-allow-methods"]
        allowed = answer.cors["access-control-allow-headers"].lower()
        assert {"authorization", "content-type"} <= set(allowed.split(", "))
        assert "origin" in answer.headers["vary"].lower()

    @pytest.mark.parametrize("path", ["/auth/token", "/api/tasks/list"])
    def test_another_origin_gets_none_of_its_headers(self, edge: Edge, path: str) -> None:
        answer = self.preflight(edge, path, STRANGER)
        assert (answer.status, answer.cors) == (405, {})
        assert ask(edge, "GET", "/auth/me", Origin=STRANGER).cors == {}

    @pytest.mark.parametrize("origin", [FRIEND, STRANGER, "null"])
    def test_pages_and_metrics_are_for_no_other_origin(self, edge: Edge, origin: str) -> None:
        for path in ("/", "/metrics", "/healthz"):
            assert ask(edge, "GET", path, Origin=origin).cors == {}

    def test_an_allowed_origin_signs_in_and_reads_the_refusals(self, edge: Edge) -> None:
        right = sign_in(edge, {"username": "alice", "password": PASSWORD}, Origin=FRIEND)
        wrong = sign_in(edge, {"username": "alice"}, Origin=FRIEND)
        unknown = ask(edge, "GET", "/auth/me", Origin=FRIEND)
        assert [answer.status for answer in (right, wrong, unknown)] == [200, 422, 401]
        for answer in (right, wrong, unknown):
            assert answer.cors["access-control-allow-origin"] == FRIEND
            assert answer.cors["access-control-allow-credentials"] == "true"

    def test_the_documented_body_is_the_one_that_is_read(self, edge: Edge) -> None:
        operation = ask(edge, "GET", "/openapi.json").json["paths"]["/auth/token"]["post"]
        content = operation["requestBody"]["content"]
        assert set(content) == {
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/json",
        }
        for each in content.values():
            assert set(each["schema"]["required"]) == {"username", "password"}
