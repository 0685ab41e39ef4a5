"""An example manager that starts, stops and backs up real small servers: `python -m demo`.

It shows how a program of one's own uses the emitter side, and nothing of it is imported elsewhere.
"""
