"""An example manager that starts, stops and backs up real small servers: `python -m demo`.

It is an example of a program that uses `emitters`. No other package imports it, and it is not in
the wheel. `make run` starts two of them (see `cluster.conf`).
"""
