"""The extras of the wheel: packages that parts of Event Relay need, and an emitter does not.

Where they are missing, the part says in one line how to install them.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

MODULES = {
    "client": ("orjson", "websockets"),
    "edge": (
        "argon2",
        "cryptography",
        "fastapi",
        "httptools",
        "jwt",
        "orjson",
        "prometheus_client",
        "psutil",
        "python_multipart",
        "uvicorn",
        "websockets",
    ),
    "relay": ("nacl", "psutil"),
    "resources": ("psutil",),
}
"""Extra to the modules by which it is found, as in pyproject.toml."""
_UNUSABLE = 2


def advice(extra: str, module: str) -> str:
    """Return how to install the extra of which `module` is missing."""
    return f'needs the package of {module!r}: pip install "event-relay[{extra}]"'


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import modules of the extra `name` in the body. `ImportError` says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in MODULES[name]:
            raise
        raise ImportError(f"this part of Event Relay {advice(name, error.name)}") from None


def require_extra(program: str, name: str) -> None:
    """End `program` with one line and exit code 2 where a package of the extra is missing."""
    for module in MODULES[name]:
        if find_spec(module) is None:
            print(f"{program}: {advice(name, module)}", file=sys.stderr)
            raise SystemExit(_UNUSABLE)
