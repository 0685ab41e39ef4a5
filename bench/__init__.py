"""`make bench`: Event Relay and other servers under one load generator, in one run.

`parts` has a module for each question, `peers` one for each server, `load` the clients and the
publisher; `session` puts a server under a load, and `report` and `page` show the results.
"""
