"""One tree of errors; each carries the HTTP status that the API answers with.

`detail` is a sentence that says what is wrong and what to do. `extras` are further members of the problem+json.
"""

from typing import ClassVar


class RegistryError(Exception):
    """Anything the registry refuses or cannot do, with a sentence for the person who asked."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, **extras: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extras = extras


class UnauthorizedError(RegistryError):
    """Nobody knows who asks."""

    status = 401
    title = "Unauthorized"


class ForbiddenError(RegistryError):
    """Whoever asks may not do this."""

    status = 403
    title = "Forbidden"


class NotFoundError(RegistryError):
    """What was named does not exist (or was deleted)."""

    status = 404
    title = "Not found"


class ConflictError(RegistryError):
    """The request contradicts what is already stored."""

    status = 409
    title = "Conflict"


class RunningError(ConflictError):
    """The same request is being done; its answer will be there in a moment."""


class NotReadyError(ConflictError):
    """The answer needs measurements that are still to come."""

    title = "Not measured yet"


class InvalidError(RegistryError):
    """The request is understood, and cannot be done as asked."""

    status = 422
    title = "Unprocessable"


class TooSlowError(RegistryError):
    """The body stopped coming."""

    status = 408
    title = "Request timeout"


class StaleError(RegistryError):
    """The change was made from a version of the thing that is no longer the newest."""

    status = 412
    title = "Precondition failed"


class UnconditionalError(RegistryError):
    """The change does not say which version of the thing it was made from."""

    status = 428
    title = "Precondition required"


class TooLargeError(RegistryError):
    """The upload exceeds the limit that the operator set."""

    status = 413
    title = "Too large"


class UnsupportedError(RegistryError):
    """The content type is not one the route reads."""

    status = 415
    title = "Unsupported media type"


class TooManyError(RegistryError):
    """Whoever asks has as much under way as one may have; the same request may succeed later."""

    status = 429
    title = "Too many requests"


class UnavailableError(RegistryError):
    """A part that the request needs is down; the same request may succeed later."""

    status = 503
    title = "Unavailable"


class StorageFullError(UnavailableError):
    """The artifact store, or a disk, takes no more bytes until somebody makes room."""

    status = 507
    title = "Insufficient storage"


class LostBytesError(UnavailableError):
    """An artifact's bytes are missing, or are not what their name says."""
