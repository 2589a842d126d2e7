"""A migrated database for every test, cloned from a template that is migrated once."""
