"""What the engine refuses to do, each as a sentence for the person who has to act on it."""


class EngineError(Exception):
    """Base of all the engine's refusals; its text is shown to people as it is."""


class ProtocolError(EngineError):
    """A protocol's parameters make no sense, or this engine cannot run them."""


class CheckpointError(EngineError):
    """A checkpoint cannot be read, or does not fit the architecture it is said to be of."""


class ArchitectureError(EngineError):
    """An architecture is unknown, or cannot be built with the given arguments."""


class NotComputableError(EngineError):
    """A result does not exist for these inputs, with the reason."""


class NotAttackableError(NotComputableError):
    """An attack needs what a network of this architecture does not have, whatever its weights."""


class PretrainedUnavailableError(EngineError):
    """Pretrained weights could not be fetched, with what could not be reached."""


class InfeasibleError(EngineError):
    """No ensemble meets the request, with the constraint that binds."""
