"""The demo: `event-relay demo` shows the page without a checkout.

A demo manager (`python -m relay.demo`) starts, stops and backs up real small servers. It is an
example of a program that uses `emitters`, and no other package imports it. `event-relay demo` runs
two of them with a relay and an edge (`cluster`); `make run` does so by `cluster.conf`, which starts
parts again that have died.
"""
