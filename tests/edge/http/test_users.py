"""The users file, with real files and real processes."""

import json
import os
from pathlib import Path

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from edge.http.users import (
    MAX_PASSWORD_CHARS,
    UsersError,
    UsersFile,
    generated_password,
    hash_of_no_password,
)
from relay.wire.usernames import MAX_NAME_CHARS
from tests.support.forked import ForkedProcess
from tests.support.processes import ROOT, python

ADD = """
import sys
from pathlib import Path
from edge.http.users import UsersFile
users = UsersFile(Path(sys.argv[1]))
sys.stdin.read(1)
for number in range(3):
    users.add(f"{sys.argv[2]}-{number}", "password")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "users.json"


@pytest.fixture
def users(path: Path, cheap_hashes: None) -> UsersFile:
    return UsersFile(path)


def test_a_missing_file_has_no_users(users: UsersFile, path: Path) -> None:
    assert users.list() == {}
    assert users.verify("alice", "password") is None
    assert not path.exists()


def test_who_was_added_may_sign_in_with_the_password(users: UsersFile) -> None:
    assert users.add("alice", "correct horse", "admin") is True
    user = users.verify("alice", "correct horse")
    assert user is not None
    assert user.role == "admin"
    assert users.verify("alice", "wrong") is None
    assert users.verify("alice", "") is None
    assert users.verify("Alice", "correct horse") is None
    assert users.verify("bob", "correct horse") is None


def test_the_stand_in_for_unknown_users_lets_nobody_in_and_costs_as_much() -> None:
    hasher = PasswordHasher()
    stand_in = hash_of_no_password(hasher)
    assert extract_parameters(stand_in) == extract_parameters(hasher.hash("password"))
    # A hash of another form would be refused as such, at once.
    with pytest.raises(VerifyMismatchError):
        hasher.verify(stand_in, "")


def test_an_unknown_user_costs_as_much_as_a_known_one(
    users: UsersFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the time of an answer would tell which names there are."""
    verify, costs = PasswordHasher.verify, []

    def recorded(hasher: PasswordHasher, stored: str, password: str) -> bool:
        costs.append(extract_parameters(stored))
        return verify(hasher, stored, password)

    monkeypatch.setattr(PasswordHasher, "verify", recorded)
    users.add("alice", "correct horse")
    for name in ("alice", "nobody"):
        assert users.verify(name, "wrong") is None
    known, unknown = costs
    assert known == unknown


def test_adding_again_replaces_password_and_role(users: UsersFile) -> None:
    users.add("alice", "old secret", "admin")
    assert users.add("alice", "new secret") is False
    assert users.verify("alice", "old secret") is None
    assert users.list()["alice"].role == "user"


def test_a_removed_user_is_gone(users: UsersFile) -> None:
    users.add("alice", "password")
    users.remove("alice")
    assert users.verify("alice", "password") is None
    with pytest.raises(UsersError, match=r"^there is no user 'alice'$"):
        users.remove("alice")


def test_passwords_are_not_in_the_file_and_others_may_not_read_it(
    users: UsersFile, path: Path
) -> None:
    users.add("alice", "correct horse")
    assert "correct horse" not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_a_guess_costs_what_rfc_9106_recommends(path: Path) -> None:
    UsersFile(path).add("alice", "correct horse")
    password_hash = json.loads(path.read_text())["users"]["alice"]["password_hash"]
    assert extract_parameters(password_hash) == RFC_9106_LOW_MEMORY


def test_a_change_by_another_is_seen_at_once(users: UsersFile, path: Path) -> None:
    assert users.list() == {}
    UsersFile(path).add("alice", "password")
    assert users.verify("alice", "password") is not None


@pytest.mark.parametrize("name", ["a", "ü 🎉", "alice@example.org", "n" * MAX_NAME_CHARS])
def test_a_name_is_any_printable_text(users: UsersFile, name: str) -> None:
    users.add(name, "password")
    assert users.verify(name, "password") is not None


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a ", "a\n", "a\x00", "\ud800", "n" * (MAX_NAME_CHARS + 1)]
)
def test_a_name_that_cannot_be_used_is_refused(users: UsersFile, path: Path, name: str) -> None:
    with pytest.raises(UsersError, match="a user name has 1 to 255 printable characters"):
        users.add(name, "password")
    assert not path.exists()


def test_two_spellings_of_one_name_are_one_user(users: UsersFile, path: Path) -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    assert users.add(decomposed, "old secret") is True
    assert users.add(composed, "password") is False
    assert users.verify(decomposed, "password") is not None
    assert list(users.list()) == [composed]
    users.remove(decomposed)
    assert users.list() == {}


def test_a_name_that_an_older_version_has_stored_signs_in(users: UsersFile, path: Path) -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    users.add(composed, "password")
    stored = json.loads(path.read_text())["users"][composed]
    path.write_text(json.dumps({"users": {decomposed: stored}}))
    assert users.verify(composed, "password") is not None
    path.write_text(
        json.dumps({"users": {composed: stored, decomposed: stored | {"role": "admin"}}})
    )
    assert users.list()[composed].role == "user", "the one whose name is stored in normal form"


@pytest.mark.parametrize("password", ["", "p", "p" * 7, "p" * (MAX_PASSWORD_CHARS + 1)])
def test_a_new_password_has_8_to_1024_characters(users: UsersFile, password: str) -> None:
    users.add("bob", "8 chars.")
    for act in (
        lambda: users.add("alice", password),
        lambda: users.set_password("bob", password),
    ):
        with pytest.raises(UsersError, match=r"^a password has 8 to 1024 characters$"):
            act()
    assert users.verify("bob", "8 chars.") is not None


def test_a_shorter_password_of_an_earlier_version_still_counts(
    users: UsersFile, path: Path
) -> None:
    path.parent.mkdir()
    stored = {"role": "user", "password_hash": PasswordHasher(1, 8, 1).hash("short")}
    path.write_text(json.dumps({"users": {"alice": stored}}))
    assert users.verify("alice", "short") is not None


def test_another_password_keeps_the_role(users: UsersFile) -> None:
    users.add("Zo\u00eb", "old secret", "admin")
    users.set_password("Zoe\u0308", "new secret")
    assert users.verify("Zo\u00eb", "old secret") is None
    user = users.verify("Zo\u00eb", "new secret")
    assert user is not None
    assert user.role == "admin"
    assert len(users.list()) == 1
    with pytest.raises(UsersError, match=r"^there is no user 'bob'$"):
        users.set_password("bob", "new secret")


def test_only_the_first_user_is_added_as_the_first(users: UsersFile, path: Path) -> None:
    assert users.add("alice", "the first secret", "admin", if_first=True) is True
    before = path.read_bytes()
    for name in ("alice", "bob"):
        assert users.add(name, "another secret", if_first=True) is False
    assert path.read_bytes() == before


def test_generated_passwords_are_long_and_differ() -> None:
    found = {generated_password() for _ in range(100)}
    assert len(found) == 100
    assert {len(each) for each in found} == {16}


def test_a_password_that_is_not_text_is_refused(users: UsersFile) -> None:
    with pytest.raises(UsersError):
        users.add("alice", "\ud800")


def test_more_than_the_longest_password_does_not_sign_in(users: UsersFile) -> None:
    longest = "p" * MAX_PASSWORD_CHARS
    users.add("alice", longest)
    assert users.verify("alice", longest) is not None
    assert users.verify("alice", longest + "x") is None


def test_an_unknown_role_is_refused(users: UsersFile) -> None:
    with pytest.raises(UsersError, match=r"^a role has 1 to 64 of a-z.*; 'King' is none$"):
        users.add("alice", "password", "King")


@pytest.mark.process
def test_concurrent_processes_do_not_lose_each_others_users(path: Path) -> None:
    """All are started before any may go."""
    writers, gates = [], []
    for number in range(4):
        waiting, gate = os.pipe()
        gates.append(gate)
        command = python("-c", ADD, str(path), f"writer-{number}")
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        writers.append(ForkedProcess(command, env, ROOT, [waiting, 2, 2]))
        os.close(waiting)
    for gate in gates:
        os.close(gate)
    assert [writer.wait(timeout=40) for writer in writers] == [0] * 4
    expected = {f"writer-{number}-{item}" for number in range(4) for item in range(3)}
    assert set(UsersFile(path).list()) == expected
    left = sorted(item.name for item in path.parent.iterdir())
    assert left == ["users.json", "users.json.lock"], "no temporary files stay behind"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"users": []}', b'{"users": {"alice": {}}}'],
)
def test_a_corrupt_file_is_refused_by_name_and_left_as_it_is(
    users: UsersFile, path: Path, content: bytes
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    expected = f"{path} is not a users file: "
    for act in (
        users.list,
        lambda: users.verify("alice", "password"),
        lambda: users.add("alice", "password"),
        lambda: users.remove("alice"),
    ):
        with pytest.raises(UsersError) as caught:
            act()
        assert str(caught.value).startswith(expected)
    assert path.read_bytes() == content


@pytest.mark.parametrize("stored", ["", "plain", "$argon2id$broken"])
def test_a_broken_hash_lets_nobody_in(users: UsersFile, path: Path, stored: str) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({"users": {"alice": {"password_hash": stored}}}))
    assert users.verify("alice", "plain") is None
    assert users.verify("alice", "") is None


def test_a_path_that_is_a_directory_is_named_in_the_error(tmp_path: Path) -> None:
    for act in (UsersFile(tmp_path).list, lambda: UsersFile(tmp_path).add("alice", "password")):
        with pytest.raises(UsersError, match=r"^\S+: Is a directory$"):
            act()


def test_a_directory_that_cannot_be_made_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    inside = UsersFile(tmp_path / "file" / "users.json")
    with pytest.raises(UsersError, match=r"users\.json: "):
        inside.add("alice", "password")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_missing_permission_is_named_in_the_error(users: UsersFile, path: Path) -> None:
    users.add("alice", "password")
    path.chmod(0)
    with pytest.raises(UsersError, match=r"^\S+users\.json: Permission denied$"):
        users.list()
