"""Bytes under their sha256: the store, its limits, its copies, and what makes room."""
