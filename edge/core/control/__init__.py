"""Requests of a worker over the control socket, and whether the relay answers them (section 4).

`LastValueRequests` decides whose retained values are requested next, `AnswerSize` how large an
answer may be, and `ControlHealth` whether the relay answers. `Readiness` joins its verdict with
that of `RelayState`: a worker is ready if a resume would succeed.

Nothing here sends a request; `edge/upstream/requests.py` does.
"""
