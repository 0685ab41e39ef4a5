"""Fuzzing: valid traffic, changed at random, against parsers and live processes.

`make fuzz` runs all parts for long, `python -m tests.fuzz --help` tells how to run one, and
`test_short.py` runs each for a few seconds.

- `changes`: changes bytes, msgpack values and ZMTP frames; `http_changes`, `websocket_changes` and
  `json_changes` those of clients. `relay_samples`, `edge_samples`: valid traffic.
- `parsers`: functions that take bytes from strangers, in this process, many times a second. Those
  of edges are in `edge_parsers`, and those of edges and emitters for the words of a relay in
  `link_parsers`.
- `guided`: some of them under Atheris, which looks for inputs that reach further code.
- `live`: the sockets of a relay and of an edge (`edge_roads`, `talks`), beside an honest emitter
  and client.
- `link`: an edge that follows a relay which lies (`lying_relay`), and an honest one afterwards.
- `api`: the HTTP API against its own OpenAPI document, by schemathesis.
- `parts`: the list of all. A further part is a function of a budget and a seed, and a line there.

Each input depends on the seed and on its number alone, so that `--seed S --only N` repeats it.
"""
