"""The one error of the one-machine stack."""


class EmbeddedError(Exception):
    """The stack cannot start or go on; the message is a sentence that says what to do."""
