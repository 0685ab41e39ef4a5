"""Imported first: refuses a package `relay` that is not ours, by its path."""

import relay

if getattr(relay, "PROJECT", None) != "event-relay":
    raise ImportError(
        "Event Relay needs its own package 'relay', but Python finds another one first:"
        f" {relay.__file__ or [*relay.__path__]}. Rename that, or look at sys.path"
    )
