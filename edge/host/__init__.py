"""The edge inside another application: `Edge`, and the functions by which that application decides.

`edge` is the object that an application installs. `functions` calls the application's functions,
`authentication` asks who opens a WebSocket, `conversation` asks before each request of a client,
`hooks` tells what happens, `connection` is a client as those functions see it, `embedded_relay`
runs a relay beside the application, and `publisher` emits for it.
"""
