"""The modules of Python that only POSIX systems have: `fcntl` and `resource`.

Emitters and clients run anywhere, so they import this module only for the parts that need it.
"""

from relay.shared.program import NEEDS_POSIX

try:
    import fcntl
    import resource
except ImportError:
    raise ImportError(f"this part of Event Relay {NEEDS_POSIX}") from None

__all__ = ["fcntl", "resource"]
