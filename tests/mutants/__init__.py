"""Mutation tests: break the code in small ways, and see whether a fast test turns red.

`make mutants` tries all mutants of the cores, `python -m tests.mutants PATH...` those of some
files, and `--budget` a sample. `operators` makes the mutants, `trial` runs tests against one, and
`session` does both within one pytest session.
"""
