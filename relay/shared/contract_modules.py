"""Imports the modules of an application that register contracts (`relay.wire.contracts`)."""

import importlib
import os
import sys
from collections.abc import Iterable

from relay.shared.settings import SettingsError
from relay.wire.contracts import CONTRACTS
from relay.wire.schema_export import data_schema

EXAMPLE = "relay.wire.catalogue"
"""The module whose events are described where an application names none of its own."""


def load_contracts(modules: Iterable[str], setting: str) -> None:
    """Import `modules`. Raises `SettingsError`, whose text begins with `setting`.

    Also for a model that they register and that no JSON schema can describe. They are found as
    `python -m` finds them: in the working directory, too.
    """
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    known = {each.topic for each in CONTRACTS}
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            text = f"{setting}: {name} cannot be imported: {_problem(str(error), error)}"
            raise SettingsError(text) from error
    for contract in CONTRACTS:
        # The suite makes the schemas of the example; a start need not.
        if contract.topic in known or contract.model.__module__ == EXAMPLE:
            continue
        try:
            data_schema(contract)
        except Exception as error:
            # The other lines of pydantic's message are an address of its documentation.
            problem = _problem(str(error).partition("\n\n")[0], error)
            text = f"{setting}: the model of {contract.topic} has no JSON schema: {problem}"
            raise SettingsError(text) from error


def _problem(text: str, error: Exception) -> str:
    return " ".join(text.split())[:200] or type(error).__name__
