"""`UsersFile`: names, roles and argon2 hashes as JSON, written as a whole on every change."""

import json
import os
import secrets
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.core.identity.access import DEFAULT_ROLE
from edge.core.identity.tokens import is_encodable
from edge.private_files import read_whole, write_private
from relay.shared.file_lock import lock_beside
from relay.shared.private_modes import make_private_directory
from relay.wire.kinds import MAX_ROLE_CHARS, is_role
from relay.wire.usernames import MAX_NAME_CHARS, normal_username

MIN_PASSWORD_CHARS = 8
"""Of new passwords (NIST SP 800-63B). Shorter ones of earlier versions still count."""
MAX_PASSWORD_CHARS = 1024
GENERATED_BYTES = 12
"""Random bytes of a generated password, which has 16 characters."""


class UsersError(Exception):
    """The users file cannot be used, or the change is not possible. The text is for people."""


class User(BaseModel):
    """One user."""

    model_config = ConfigDict(frozen=True)

    role: str = DEFAULT_ROLE
    password_hash: str


class _Users(BaseModel):
    users: dict[str, User] = Field(default_factory=dict)


class UsersFile:
    """Reads the file for every question, so that a change is effective at once: it is small."""

    def __init__(self, path: Path, hasher: PasswordHasher | None = None) -> None:
        """Use `path`; `hasher` makes the hashes, each of which tells its own cost."""
        self._path = path
        self._hasher = hasher or PasswordHasher()
        self._nobody = hash_of_no_password(self._hasher)
        """Hash for unknown names, so that response times do not reveal which names exist."""

    def list(self) -> dict[str, User]:
        """Return the users by name. Raises `UsersError` when the file cannot be read."""
        try:
            try:
                return _users(self._path.read_bytes())
            except ValidationError:
                # A writer may be in the middle of a file that it cannot replace.
                return _users(read_whole(self._path))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UsersError(f"{self._path}: {error.strerror}") from None
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise UsersError(f"{self._path} is not a users file: {problem}") from None

    def verify(self, name: str, password: str) -> User | None:
        """Return the user if `password` is right, else None. Takes tens of milliseconds of CPU.

        Raises `UsersError` when the file cannot be read.
        """
        user = self.list().get(normal_username(name)) if _is_password(password) else None
        try:
            right = self._hasher.verify(
                user.password_hash if user else self._nobody, password if user else ""
            )
        except (VerificationError, InvalidHashError):
            return None
        return user if right else None

    def add(
        self, name: str, password: str, role: str = DEFAULT_ROLE, *, if_first: bool = False
    ) -> bool:
        """Add a user, or replace the password and role of one; return whether the user is new.

        With `if_first`, nothing is changed if there is any user. Raises `UsersError` for a name,
        password or role that cannot be used.
        """
        name = normal_username(name)
        if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable() or name != name.strip():
            raise UsersError(f"a user name has 1 to {MAX_NAME_CHARS} printable characters")
        self._check_new(password)
        if not is_role(role):
            raise UsersError(
                f"a role has 1 to {MAX_ROLE_CHARS} of a-z, 0-9, '_' and '-', a letter first;"
                f" {role[:MAX_ROLE_CHARS]!r} is none"
            )
        if if_first and self.list():
            return False
        with self._changing() as users:
            if if_first and users:
                return False
            is_new = name not in users
            users[name] = User(role=role, password_hash=self._hasher.hash(password))
        return is_new

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password. Raises `UsersError` when there is none of that name."""
        self._check_new(password)
        with self._changing() as users:
            user = users.get(normal_username(name))
            if user is None:
                raise UsersError(f"there is no user {name!r}")
            changed = User(role=user.role, password_hash=self._hasher.hash(password))
            users[normal_username(name)] = changed

    def remove(self, name: str) -> None:
        """Remove a user. Raises `UsersError` when there is none of that name."""
        with self._changing() as users:
            if users.pop(normal_username(name), None) is None:
                raise UsersError(f"there is no user {name!r}")

    @staticmethod
    def _check_new(password: str) -> None:
        if len(password) < MIN_PASSWORD_CHARS or not _is_password(password):
            raise UsersError(
                f"a password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters"
            )

    @contextmanager
    def _changing(self) -> Iterator[dict[str, User]]:
        """Yield the users to be changed, then store them; one process at a time does so."""
        try:
            make_private_directory(self._path.parent)
            with lock_beside(self._path, wait=True):
                users = self.list()
                yield users
                self._store(users)
        except OSError as error:
            raise UsersError(f"{self._path}: {error.strerror}") from None

    def _store(self, users: dict[str, User]) -> None:
        text = json.dumps(_Users(users=users).model_dump(), indent=2)
        write_private(self._path, text.encode() + b"\n")


def generated_password() -> str:
    """Return a random password that nobody has to guess at."""
    return secrets.token_urlsafe(GENERATED_BYTES)


def hash_of_no_password(hasher: PasswordHasher) -> str:
    """Return a hash that costs as much to verify as one of `hasher`, and nothing to make."""
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = (
        b64encode(os.urandom(size)).decode().rstrip("=")
        for size in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v={ARGON2_VERSION}${cost}${salt}${digest}"


def _users(content: bytes) -> dict[str, User]:
    """Return the users by their normal names; the user whose name is stored so wins over others."""
    stored = _Users.model_validate_json(content).users
    return {normal_username(name): user for name, user in stored.items()} | {
        name: user for name, user in stored.items() if name == normal_username(name)
    }


def _is_password(password: str) -> bool:
    return 1 <= len(password) <= MAX_PASSWORD_CHARS and is_encodable(password)
