"""`require_own`: whether Python finds our package of a name, or another one."""

from importlib import import_module

from relay import PROJECT


def require_own(name: str) -> None:
    """Import our package `name`. Raises `ImportError` with the path of another one.

    `edge` and `emitters` themselves look for `relay`, without which there is no function to call.
    """
    found = import_module(name)
    if getattr(found, "PROJECT", None) != PROJECT:
        raise ImportError(
            f"Event Relay needs its own package {name!r}, but Python finds another one first:"
            f" {found.__file__ or [*found.__path__]}. Rename that, or look at sys.path"
        )
