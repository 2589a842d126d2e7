"""Keeping a registry in order: garbage, orphans, the doctor."""
