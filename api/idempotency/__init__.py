"""Requests under an Idempotency-Key, done once."""
