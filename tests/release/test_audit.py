"""Answers about known vulnerabilities, and none."""

import json
import os
import subprocess

import pytest

from release.audit import EXIT_NOT_ASKED, Report, npm_report, python_report
from tests.support.processes import ROOT, python

CLEAN = {"name": "click", "version": "8.3.0", "vulns": []}
NOT_ASKED = {"name": "msgpack", "skip_reason": "Dependency not found: msgpack (1.1.0)"}
VULNERABLE = {
    "name": "jinja2",
    "version": "2.4.1",
    "vulns": [
        {"id": "PYSEC-2014-8", "fix_versions": ["2.7.2"], "aliases": [], "description": "…"},
        {"id": "PYSEC-2019-217", "fix_versions": ["2.10.1", "2.7.2"], "description": "…"},
    ],
}


def answer(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_vulnerability_is_one_line_with_the_mended_versions() -> None:
    line = "jinja2 2.4.1: PYSEC-2014-8, PYSEC-2019-217; mended in 2.7.2, 2.10.1"
    assert python_report(answer(CLEAN, VULNERABLE)) == Report((line,))
    assert python_report(answer(CLEAN)) == Report()


def test_no_answer_is_no_good_answer() -> None:
    """pip-audit is content with packages about which it has learnt nothing."""
    assert python_report(answer(CLEAN, NOT_ASKED)) == Report((), "1 of 2 Python packages")
    for nothing in ("", "{}", "[]", "Traceback"):
        assert python_report(nothing) == Report((), "Python packages")


def test_answers_of_npm() -> None:
    entry = {"name": "ws", "severity": "high", "range": "8.0.0 - 8.17.0", "fixAvailable": True}
    found = json.dumps({"vulnerabilities": {"ws": entry}})
    assert npm_report(".", found) == Report(("ws 8.0.0 - 8.17.0: high",))
    assert npm_report(".", '{"vulnerabilities": {}}') == Report()
    refused = '{"message": "405 Method Not Allowed", "method": "POST"}'
    for nothing in (refused, ""):
        assert npm_report("bench", nothing) == Report((), "bench/package-lock.json")


@pytest.mark.process
def test_without_a_network_one_line_and_an_exit_code_say_so() -> None:
    nowhere = "http://127.0.0.1:1"
    env = os.environ | {"HTTPS_PROXY": nowhere, "npm_config_registry": nowhere}
    ran = subprocess.run(
        python("-m", "release.audit"), cwd=ROOT, env=env, capture_output=True, text=True, timeout=90
    )
    assert ran.returncode == EXIT_NOT_ASKED, ran.stdout + ran.stderr
    [line] = ran.stdout.splitlines()
    assert line.startswith("audit: not checked, is there a network?")
    assert "package-lock.json" in line
