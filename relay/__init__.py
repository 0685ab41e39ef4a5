"""The relay process: an XSUB/XPUB proxy that numbers what passes.

`relay.wire` holds the words every side speaks; `relay.core` the decisions; the modules beside
them own sockets and settings. Edges and emitters import `relay.wire`, `relay.transport`,
`relay.settings` and `relay.logs`, and nothing else from here.
"""
