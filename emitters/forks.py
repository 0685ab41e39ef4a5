"""`in_forked_child`: objects with threads or locks begin anew in a process that was forked.

A forked process has none of its parent's threads but the one that forked, and a lock that another
thread held is taken for ever. That concerns `multiprocessing` with the start method `fork`, workers
of Celery, and gunicorn with `preload_app`.
"""

import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_hooks: "weakref.WeakKeyDictionary[object, Callable[[Any], None]]" = weakref.WeakKeyDictionary()


def in_forked_child(each: T, function: Callable[[T], None]) -> None:
    """Call `function(each)` in each child that is forked, before anything else runs there.

    `each` is not kept alive by this. Where there is no `fork`, it is never called.
    """
    _hooks[each] = function


def _call_hooks() -> None:
    for each, function in list(_hooks.items()):
        function(each)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_call_hooks)
