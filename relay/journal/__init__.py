"""The journal: a SQLite file with the events of the streams, and how far each emitter has come.

`format` describes the file, and no other package knows it. `journal` writes and replays, `reader`
holds the queries, `verify` finds inconsistencies, `file` locks, opens, copies and restores, and
`cli` is `event-relay journal`. `relay.core.retention` decides which rows are removed.
"""
