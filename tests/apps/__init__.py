"""Applications with an edge in them, which the tests serve."""
