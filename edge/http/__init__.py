"""The HTTP routes: `auth` (sign-in, with `passwords` and `users`), `api` (tasks, topics, health),
`pages`.

`topics` is the content of `/api/topics`, `metrics` that of `/metrics`, for which `siblings` asks
the other workers. `hashing` is the queue of password checks. `forwarded` and `requests` see every
request before its route.
"""
