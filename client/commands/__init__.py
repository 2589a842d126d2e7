"""The subcommands of `sat`, a module a noun."""
