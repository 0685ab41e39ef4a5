"""For tests of applications: a real relay and a real edge, and the pytest plugin that starts them.

`plugin` has the fixtures. Nothing of Event Relay imports this package; our own tests do.
"""
