"""The edge's side of ZeroMQ: subscribing, following the relay, and requests to it (section 4).

`connection` opens both sockets and builds what speaks on them, bottom up; `subscriber` reads them
last, once everything that takes events exists. `replayer` serves catch-ups from `requests`.
"""
