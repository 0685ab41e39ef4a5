"""With gevent's green threads an emitter says at once that it needs real ones."""

import sys
from types import ModuleType

import pytest

from emitters import Emitter
from emitters.green_threads import refuse_green_threads


@pytest.mark.parametrize("is_patched", [False, True])
def test_patched_threads_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, is_patched: bool
) -> None:
    """`gevent.monkey` by the one function that is asked, for gevent is no dependency."""
    monkey = ModuleType("gevent.monkey")
    monkey.is_module_patched = lambda name: is_patched and name == "threading"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    if not is_patched:
        refuse_green_threads()
        return
    with pytest.raises(RuntimeError, match=r"^an emitter needs real threads: .*thread=False.*$"):
        Emitter(name="manager-1")
