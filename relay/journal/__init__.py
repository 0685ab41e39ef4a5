"""The journal: one file format, and the one package that knows it."""
