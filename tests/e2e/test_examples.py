"""Each file of `examples/` runs. `test_installed.py` runs `app.py`, with the wheel alone."""

import json
import os
import shutil
import signal
import urllib.request
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from tests.emitters.relay_control import read_journal
from tests.support.cluster import Cluster, free_ports
from tests.support.host_app import HostApp, serve
from tests.support.nginx import find_nginx
from tests.support.processes import ROOT, ManagedProcess, python
from tests.support.waiting import wait_for

EXAMPLES = ROOT / "examples"
FILES = sorted(path for path in EXAMPLES.rglob("*") if path.is_file() and "__" not in str(path))
MAX_LINES = 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_short_and_listed(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES
    if path.name != "README.md":
        assert f"]({path.relative_to(EXAMPLES)})" in (EXAMPLES / "README.md").read_text()


def start(cluster: Cluster, name: str, *command: str, **env: str) -> ManagedProcess:
    """Run a module of Python that finds the examples and this checkout."""
    return cluster.start_forked(
        name, python("-m", *command), PYTHONPATH=f"{EXAMPLES}:{ROOT}", **env
    )


def test_the_script(cluster: Cluster) -> None:
    cluster.start_relay()
    client = cluster.connect(cluster.start_edge(), "alice")
    client.subscribe("event:*")
    script = cluster.start_forked("script", python(str(EXAMPLES / "script.py")))
    script.wait_ended(60)
    assert (script.returncode, script.output()) == (0, "")
    assert client.receive_on("event:after_backup")["data"] == {"server_name": "survival"}
    updates = [m["data"] for m in client.received if m.get("type") == "task_update"]
    if updates[-1]["status"] != "success":  # The order between streams is the edge's own.
        is_last = lambda m: m.get("data", {}).get("status") == "success"  # noqa: E731
        updates.append(client.receive_until(is_last, "the last update")["data"])
    assert updates[-1]["result"] == {"files": 3}
    # Progress that follows fast is merged.
    assert updates[0]["status"] == "in_progress"


@pytest.mark.parametrize(
    ("program", "file"), [("node", "publish.mjs"), ("sh", "publish.sh")], ids=["node", "curl"]
)
def test_programs_that_publish_by_http(cluster: Cluster, program: str, file: str) -> None:
    found, needed = shutil.which(program), {"node": "node", "sh": "curl"}[program]
    if found is None or shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed")
    cluster.start_relay()
    edge = cluster.start_edge()
    client = cluster.connect(edge, "alice")
    client.subscribe("event:*")
    token = cluster.token("shop", "admin")
    ran = cluster.start(program, [found, str(EXAMPLES / file)], EDGE=edge.url, TOKEN=token)
    ran.wait_ended(60)
    assert ran.returncode == 0, ran.output()
    assert client.receive_on("event:order_paid")["data"] == {"order": 42}
    if program == "node":
        assert ran.output() == "published once\n"
    else:
        published, history = map(json.loads, ran.output().splitlines())
        assert published["events"][0]["stored"] is True
        assert [each["topic"] for each in history["events"]] == ["event:order_paid"]


def test_the_view_of_django(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge()
    alice, bob = cluster.connect(edge, "alice"), cluster.connect(edge, "bob")
    for client in (alice, bob):
        client.subscribe("event:*")
    [port] = free_ports(1)
    start(cluster, "django", "django_site", "runserver", str(port), "--noreload")
    site = f"http://127.0.0.1:{port}"

    def is_paid() -> bool:
        try:
            with urllib.request.urlopen(f"{site}/orders/7/paid-by/alice", timeout=20) as reply:
                return bool(reply.status == 200)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ConnectionRefusedError):
                return False
            raise

    wait_for(is_paid, "the view answers", 60)
    assert alice.receive_on("notice:7")["data"] == {"text": "Thank you"}
    assert bob.receive_on("event:order_paid")["data"] == {"number": 7}
    cluster.emitter().emit("event:marker", {})
    bob.receive_on("event:marker")
    assert not [m for m in bob.received if m.get("topic") == "notice:7"]


def test_the_task_of_celery(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start_relay()
    client = cluster.connect(cluster.start_edge(), "alice")
    # A broker in files: the same for the worker and the program that asks it.
    (tmp_path / "celeryconfig_of_test.py").write_text(
        f"broker_transport_options = {{'data_folder_in': {str(tmp_path)!r},"
        f" 'data_folder_out': {str(tmp_path)!r}, 'control_folder': {str(tmp_path)!r}}}\n"
    )
    env = {
        "CELERY_BROKER": "filesystem://",
        "PYTHONPATH": f"{tmp_path}:{EXAMPLES}:{ROOT}",
    }
    ask = (
        "from celery_tasks import app, report\n"
        "app.config_from_object('celeryconfig_of_test')\n"
        "print('id', report.delay('alice', 3).id)\n"
    )
    asked = cluster.start_forked("ask", python("-c", ask), **env)
    asked.wait_for_output("id ")
    topic = f"task:{asked.output().partition('id ')[2].split()[0]}"
    worker = cluster.start(
        "worker",
        python(
            "-m", "celery", "-A", "celery_tasks", "--config=celeryconfig_of_test", "worker",
            "--concurrency=2", "--without-gossip", "--without-mingle", "--without-heartbeat",
        ),
        **env,
    )  # fmt: skip
    updates: list[dict[str, Any]] = []
    while not updates or updates[-1]["status"] != "success":
        updates.append(client.receive_on(topic, timeout=60)["data"])
    assert [update["message"] for update in updates[:-1]] == [
        "Page 1 of 3", "Page 2 of 3", "Page 3 of 3",
    ]  # fmt: skip
    worker.signal(signal.SIGTERM)
    worker.wait_ended(30)


def test_the_notebook_whose_cells_run_twice(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.start_relay()
    for name, value in (cluster.env | {"PYTHONPATH": str(ROOT)}).items():
        monkeypatch.setenv(name, value)
    text = (EXAMPLES / "notebook.ipynb").read_text()
    notebook: Any = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    client = nbclient.NotebookClient(notebook, timeout=60)
    with client.setup_kernel():
        for _ in range(2):
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert [output.output_type for output in outputs] == ["execute_result"]
        assert outputs[0].data["text/plain"] in ("'CONNECTING'", "'CONNECTED'")
        wait_for(lambda: len(read_journal(cluster.control)) >= 2000, "all arrives", 60)
    numbers = [event.data["epoch"] for event in read_journal(cluster.control)]
    # Two emitters of one name, each in its order.
    assert sorted(numbers) == sorted([*range(1000)] * 2)


def test_nginx_at_a_sub_path(cluster: Cluster, tmp_path: Path) -> None:
    nginx = find_nginx()
    app = serve(cluster, "app:app", PYTHONPATH=f"{EXAMPLES}:{ROOT}")
    [port] = free_ports(1)
    configuration = tmp_path / "nginx.conf"
    text = (EXAMPLES / "nginx.conf").read_text()
    configuration.write_text(
        text.replace("127.0.0.1:8000", f"127.0.0.1:{app.port}").replace(":8080", f":{port}")
    )
    process = cluster.start("nginx", [nginx, "-p", str(tmp_path), "-c", str(configuration)])
    front = HostApp(process, port, "/shop/live")
    front.wait_ready()
    with front.connect(additional_headers={"Cookie": "user=ann"}) as client:
        client.subscribe("event:order")
        assert front.request("/shop/orders/9", method="POST")[0] == 200
        assert client.receive_on("event:order")["data"] == {"number": 9}
    os.kill(process.pid, signal.SIGTERM)
    process.wait_ended()
    assert process.output() == ""
