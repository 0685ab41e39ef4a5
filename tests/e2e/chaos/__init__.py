"""The chaos suite: load, faults in random order, and a judge that compares each client's record
with the relay's journal.

`traffic` defines events and subscriptions, `load_emitter` is the program that emits, `lives`
restarts it, `stage` starts all processes, `faults` disturbs them, `judge` and `accounts` list the
problems, and `round` combines them.
"""
