"""`event-relay keys`: files that their owner alone can read, and public keys on standard output."""

import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli import main
from relay.shared.curve_keys import parse_public_key, read_key_file
from relay.wire.peers import MAX_NAME_CHARS


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["keys", *arguments])
    # A traceback: everything else ends by `SystemExit`.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refusal(*arguments: str) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr.splitlines()[-1].removeprefix("Error: ")


def test_a_new_key_is_written_and_its_public_part_printed() -> None:
    result = run("new", "manager-1")
    pair = read_key_file(Path("manager-1.key"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{pair.public.hex()}\n"
    assert parse_public_key(result.stdout.strip()) == pair.public
    shown = run("show", "manager-1.key")
    assert (shown.exit_code, shown.output) == (0, result.stdout)
    assert pair.secret.hex() not in result.output + shown.output


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_nobody_else_can_read_the_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        run("new", "a", "--directory", str(tmp_path))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600


def test_each_key_is_another_one() -> None:
    assert run("new", "a").stdout != run("new", "b").stdout


def test_a_file_that_exists_stays_as_it_is() -> None:
    run("new", "a")
    before = Path("a.key").read_bytes()
    assert refusal("new", "a") == "a.key exists already, and stays as it is"
    assert Path("a.key").read_bytes() == before


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", "../a", "a/b", "a b", 'a"', "a\n", "é", "٣", "a" * 65]
)
def test_a_name_is_safe_as_that_of_a_file_and_a_table(tmp_path: Path, name: str) -> None:
    assert refusal("new", name).startswith("NAME has 1 to 64 of a-z, A-Z, 0-9,")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "Manager_1", "10.0.0.7", "a" * MAX_NAME_CHARS])
def test_other_names_are_taken(name: str) -> None:
    assert run("new", name).exit_code == 0
    assert Path(f"{name}.key").exists()


def test_a_directory_that_is_not_there_is_named() -> None:
    assert refusal("new", "a", "--directory", "none") == (
        f"{Path('none', 'a.key')} cannot be written: No such file or directory"
    )


def test_a_file_without_a_key_is_refused_without_its_contents() -> None:
    assert refusal("show", "none.key") == "none.key cannot be read: No such file or directory"
    path = Path("a.key")
    path.write_text('secret = "5ec2e7"')
    path.chmod(0o600)
    expected = "a.key is no key file: make one with `event-relay keys new NAME`"
    assert refusal("show", "a.key") == expected
    path.chmod(0o644)
    assert refusal("show", "a.key") == (
        "a.key other users may use it (its mode is 644): chmod 600 a.key"
    )
