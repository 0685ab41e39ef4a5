"""docs/http.md does what it says; `/openapi.json` has credentials and error answers."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.support.cluster import Cluster, Edge
from tests.support.http_api import StreamClient, request
from tests.support.processes import ROOT
from tests.support.waiting import wait_for

PAGE = (ROOT / "docs" / "http.md").read_text()


def snippets(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"the page has no {language}"
    return found


def shape(value: Any) -> Any:
    """The keys and types of a JSON value."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value)


def run(command: list[str], **env: str) -> str:
    """Run a command that needs only what the page names."""
    done = subprocess.run(
        command, env=env | {"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def environment(cluster: Cluster, edge: Edge) -> dict[str, str]:
    return {"EDGE": edge.url, "TOKEN": cluster.token("root", "admin")}


def test_the_lines_for_curl(cluster: Cluster, edge: Edge, environment: dict[str, str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is missing")
    publishing, watching, reading = snippets("sh")
    published, page = (json.loads(each) for each in snippets("json"))
    for _ in range(2):
        answer = json.loads(run(["sh", "-ec", publishing], **environment))
        assert shape(answer) == shape(published)
    found = json.loads(run(["sh", "-ec", reading], **environment))
    assert shape(found) == shape(page)
    assert [each["data"] for each in found["events"]] == [{"order": 42}], "once"
    environment["TOKEN"] = cluster.token("alice")
    with subprocess.Popen(
        ["sh", "-ec", f"exec {watching}"],
        env=environment | {"PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as curl:
        try:
            assert curl.stdout is not None
            first = curl.stdout.readline()
            assert first.startswith(b"retry: ")
        finally:
            curl.terminate()


def test_the_lines_for_node(cluster: Cluster, edge: Edge, environment: dict[str, str]) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is missing")
    publishing, _watching = snippets("js")
    script = f"""
      const edge = process.env.EDGE, token = process.env.TOKEN;
      {publishing}
      console.log(response.status, JSON.stringify(await response.json()));
    """
    with StreamClient(edge.url, token=cluster.token("alice")) as stream:
        status, _, body = run([node, "--input-type=module", "-e", script], **environment).partition(
            " "
        )
        assert (status, shape(json.loads(body))) == ("200", shape(json.loads(snippets("json")[0])))
        assert stream.receive_on("notice:42")["data"] == {"text": "Paid"}


def test_a_webhook_template_is_enough(edge: Edge, environment: dict[str, str]) -> None:
    """A form's content type, the token in the URL, and no header."""
    url = f"{edge.url}/api/events?token={environment['TOKEN']}"
    body = b'{"topic":"event:alert","data":{"state":"firing"}}'
    answer = request(url, data=body, Content_Type="application/x-www-form-urlencoded")
    assert answer.status == 200

    def is_there() -> bool:
        page = request(f"{edge.url}/api/streams/event/events", environment["TOKEN"]).body
        return bool([each for each in page["events"] if each["topic"] == "event:alert"])

    wait_for(is_there, "the alert")


def test_the_documentation_of_the_api(edge: Edge) -> None:
    document = request(f"{edge.url}/openapi.json").body
    schemes = document["components"]["securitySchemes"]
    assert {each["type"] for each in schemes.values()} == {"http", "oauth2", "apiKey"}
    for path, method, errors in (
        ("/api/events", "post", {"401", "403", "409", "413", "422", "429", "503"}),
        ("/api/events", "get", {"401", "403", "422"}),
        ("/api/streams/{stream}/events", "get", {"401", "403", "404", "422", "503"}),
    ):
        operation = document["paths"][path][method]
        assert errors <= set(operation["responses"])
        assert len(operation["security"]) == len(schemes), "any of them is enough"
        for status in errors:
            answer = operation["responses"][status]
            reference = answer["content"]["application/json"]["schema"]["$ref"]
            model = document["components"]["schemas"][reference.rpartition("/")[2]]
            assert "detail" in model["properties"]
    body = document["paths"]["/api/events"]["post"]["requestBody"]["content"]["application/json"]
    assert {"topic", "data"} <= set(body["schema"]["oneOf"][0]["properties"])
    assert "text/event-stream" in str(document["paths"]["/api/events"]["get"]["responses"]["200"])


def test_every_status_of_an_operation_is_documented(edge: Edge) -> None:
    document = request(f"{edge.url}/openapi.json").body
    for path, method, statuses in (
        ("/auth/token", "post", {"200", "400", "401", "403", "413", "422", "429", "503"}),
        ("/auth/logout", "get", {"200", "401", "403", "503"}),
        ("/auth/me", "get", {"200", "401", "503"}),
        ("/api/tasks", "get", {"200", "401", "503"}),
        ("/api/tasks/list", "get", {"200", "401", "503"}),
        ("/api/tasks/status/{task_id}", "get", {"200", "401", "404", "503"}),
        ("/api/topics", "get", {"200", "401", "503"}),
        ("/api/presence/{topic}", "get", {"200", "400", "401", "403", "404", "503"}),
        ("/api/revocations", "post", {"204", "400", "401", "403", "422", "503"}),
        ("/api/users/{username}/disconnect", "post", {"204", "400", "401", "403", "404", "422"}),
        ("/readyz", "get", {"200", "503"}),
        ("/metrics", "get", {"200", "401", "403"}),
        ("/asyncapi.json", "get", {"200", "401", "403"}),
    ):
        assert statuses <= set(document["paths"][path][method]["responses"]), path
    metrics = document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert set(metrics) == {"text/plain"}
