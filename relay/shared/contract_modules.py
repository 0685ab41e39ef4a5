"""Imports the modules of an application that register contracts (`relay.wire.contracts`)."""

import importlib
import os
import sys
from collections.abc import Iterable

from relay.shared.settings import SettingsError

EXAMPLE = "relay.wire.catalogue"
"""The module whose events are described where an application names none of its own."""


def load_contracts(modules: Iterable[str], setting: str) -> None:
    """Import `modules`. Raises `SettingsError`, whose text begins with `setting`.

    They are found as `python -m` finds them: in the working directory, too.
    """
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            problem = " ".join(str(error).split())[:200] or type(error).__name__
            raise SettingsError(f"{setting}: {name} cannot be imported: {problem}") from error
