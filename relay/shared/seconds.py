"""`SECONDS`: the type of command-line options for a time to wait."""

import math
from typing import Any

import click

MAX_WAIT_S = 86_400.0


class _Seconds(click.FloatRange):
    """A number from 0 to a day. A range alone lets `nan` through, which is in no order."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click."""
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


SECONDS = _Seconds(min=0, max=MAX_WAIT_S)
