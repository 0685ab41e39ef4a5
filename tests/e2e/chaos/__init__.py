"""The chaos suite: load, faults in random order, and a judge who compares every client's record
with the relay's journal.

`traffic` says what is emitted and who subscribes to what, `load_emitter` is the program that
emits and `lives` what starts it again, `stage` starts everything, `faults` breaks it, `judge` and
`accounts` say what is wrong, and `round` puts them together.
"""
