"""The relay process: an XSUB/XPUB proxy that numbers what passes.

`relay.wire` holds the words every side speaks; `relay.core` the decisions; the modules beside
them own sockets and settings. Edges and emitters import `relay.wire`, `relay.shared.transport`,
`relay.shared.settings` and `relay.shared.logs`, and nothing else from here.
"""
