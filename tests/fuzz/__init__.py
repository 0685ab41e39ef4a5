"""Fuzzing: valid traffic, changed at random, against parsers and live processes.

`make fuzz` runs all parts for long, `python -m tests.fuzz --help` tells how to run one, and
`test_short.py` runs each for a few seconds.

- `changes`: changes bytes, msgpack values and ZMTP frames; `samples`: valid traffic.
- `parsers`: functions that take bytes from strangers, in this process, many times a second.
- `guided`: the same functions under Atheris, which looks for inputs that reach further code.
- `live`: the sockets of a relay process, beside an honest emitter, edge and client.
- `parts`: the list of all. A further part is a function of a budget and a seed, and a line there.

Each input depends on the seed and on its number alone, so that `--seed S --only N` repeats it.
"""
