"""Key files and the text of public keys; no secret key leaves its file."""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from relay.shared.curve_keys import (
    MAX_FILE_BYTES,
    ClientKeys,
    KeyPair,
    new_key_pair,
    parse_public_key,
    read_key_file,
    write_key_file,
)

_SECRET = bytes(range(100, 132))
PAIR = KeyPair(z85.decode(zmq.curve_public(z85.encode(_SECRET))), _SECRET)
PUBLIC, SECRET = PAIR.public.hex(), PAIR.secret.hex()
NO_KEY_FILE = "is no key file: make one with `event-relay keys new NAME`"
keys = st.binary(min_size=32, max_size=32)


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(
        ValueError, match=r"^(is no key file|cannot be read|other users)"
    ) as refused:
        read_key_file(path)
    text = str(refused.value)
    assert SECRET not in text
    assert PAIR.secret not in text.encode()
    assert text.isprintable(), "one line"
    return text


def test_a_new_key_is_one_of_zeromq() -> None:
    pair = new_key_pair()
    assert zmq.curve_public(z85.encode(pair.secret)) == z85.encode(pair.public)
    assert new_key_pair() != pair


def test_a_key_that_is_shown_shows_no_secret() -> None:
    """In a log line, or in the values of a traceback."""
    for shown in (repr(PAIR), str(ClientKeys(PAIR, PAIR.public)), f"{PAIR}"):
        assert PUBLIC in shown
        assert repr(PAIR.secret)[2:-1] not in shown
        assert SECRET not in shown


@given(keys)
def test_a_public_key_is_read_in_both_forms(key: bytes) -> None:
    for text in (key.hex(), key.hex().upper(), z85.encode(key).decode()):
        assert parse_public_key(text) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        PUBLIC[:-1],
        PUBLIC + "0",
        PUBLIC[:-2],
        PUBLIC[:-1] + "g",
        PUBLIC[:-2] + "  ",
        " " * 64,
        "é" * 64,
        "#" * 40,
        "~" * 40,
        "é" * 40,
        "\ud800" * 40,
        z85.encode(PAIR.public).decode()[:-1],
        z85.encode(PAIR.public).decode() + "0",
        f"0x{PUBLIC[2:]}",
    ],
)
def test_any_other_text_is_no_public_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a public key: 64 hexadecimal digits, as "):
        parse_public_key(text)


@given(st.text(min_size=64, max_size=64) | st.text(min_size=40, max_size=40))
def test_any_text_is_a_key_of_32_bytes_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert len(parse_public_key(text)) == 32


@pytest.mark.parametrize("umask", [0, 0o022, 0o027, 0o077])
def test_a_new_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "manager-1.key"
    before = os.umask(umask)
    try:
        write_key_file(path, "manager-1", PAIR)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key_file(path) == PAIR
    assert '# The key of "manager-1".' in path.read_text()


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_that_exists_stays_as_it_is(tmp_path: Path, is_link: bool) -> None:
    path, target = tmp_path / "a.key", tmp_path / "target"
    target.write_text("of somebody")
    if is_link:
        path.symlink_to(target)
    else:
        target.rename(path)
    with pytest.raises(FileExistsError):
        write_key_file(path, "a", PAIR)
    assert path.read_text() == "of somebody"


@given(keys, keys)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, a: bytes, b: bytes
) -> None:
    path = tmp_path_factory.mktemp("keys") / "a.key"
    write_key_file(path, "a", KeyPair(a, b))
    assert read_key_file(path) == KeyPair(a, b)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o666, 0o660])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "a.key", f'public = "{PUBLIC}"\nsecret = "{SECRET}"\n', mode)
    assert refusal(path) == f"other users may use it (its mode is {mode:03o}): chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_the_owner_may_do_with_it_anything(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "a.key", f'secret = "{SECRET}"\npublic = "{PUBLIC}"\n', mode)
    assert read_key_file(path) == PAIR


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.key") == "cannot be read: No such file or directory"
    assert refusal(tmp_path) == "cannot be read: Is a directory"


Spoil = Callable[[str], str | bytes]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _text: "",
        lambda text: text.replace("secret", "sekret"),
        lambda text: text.replace("public", "[public]\nx"),
        lambda text: text.replace(f'"{SECRET}"', "1"),
        lambda text: text.replace(f'"{SECRET}"', f'["{SECRET}"]'),
        lambda text: text.replace(SECRET, SECRET[:-2]),
        lambda text: text.replace(SECRET, SECRET + "00"),
        lambda text: text.replace(SECRET, SECRET[:-1]),
        lambda text: text.replace(SECRET, SECRET[:-1] + "g"),
        lambda text: text.replace(PUBLIC, PUBLIC[:-2]),
        lambda text: text.replace(PUBLIC, ""),
        lambda text: text + "x = ",
        lambda text: text + text,
        lambda text: text.encode() + b"# \xff",
        lambda text: text.encode("utf-16"),
        lambda text: f"{text}x = {'[' * 3000}",
        lambda text: text + "#" * MAX_FILE_BYTES,
    ],
    ids=range(17),
)
def test_anything_else_in_a_file_is_refused_without_its_secret(
    tmp_path: Path, spoil: Spoil
) -> None:
    text = f'public = "{PUBLIC}"\nsecret = "{SECRET}"\n'
    assert refusal(write(tmp_path / "a.key", spoil(text))) == NO_KEY_FILE


def test_a_file_has_bounded_bytes(tmp_path: Path) -> None:
    text = f'public = "{PUBLIC}"\nsecret = "{SECRET}"\n'.ljust(MAX_FILE_BYTES, "#")
    assert read_key_file(write(tmp_path / "most.key", text)) == PAIR
    assert refusal(write(tmp_path / "more.key", f"{text}#")) == NO_KEY_FILE


@given(st.binary(max_size=300))
def test_any_bytes_are_a_key_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = write(tmp_path_factory.mktemp("keys") / "a.key", content)
    assert refusal(path) == NO_KEY_FILE
