"""The HTTP routes: `auth` (sign-in, with `users`), `api` (tasks, topics, health), `pages`.

`topics` is the content of `/api/topics`, `metrics` that of `/metrics`.
"""
