"""Tools for releases: the bill of materials, and the audit of the locked versions."""
