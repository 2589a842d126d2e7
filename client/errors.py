"""What can go wrong between a person and a registry, each as one sentence and an exit code."""

from collections.abc import Mapping

OK, REFUSED, USAGE, UNREACHABLE = 0, 1, 2, 3
"""Exit codes of `sat`; docs/cli.md lists them."""


UNAUTHORIZED = 401


class ClientError(Exception):
    """An expected error; its text is a sentence that says what to do."""

    exit_code = REFUSED


class InputError(ClientError):
    """Something given on this machine (a file, an option) cannot be used."""

    exit_code = USAGE


class UnreachableError(ClientError):
    """No registry answers."""

    exit_code = UNREACHABLE


class RegistryError(ClientError):
    """The registry answered with a problem (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, object], retry_after: float | None = None) -> None:
        """Keep the status, the problem document and the seconds of the Retry-After header."""
        self.status = status
        self.retry_after = retry_after
        self.detail = str(problem.get("detail") or problem.get("title") or f"The registry answered {status}.")
        self.problem = dict(problem)
        super().__init__(self._sentence())

    @property
    def near(self) -> tuple[str, ...]:
        """Names close to the one that was not found."""
        names = self.problem.get("near")
        return tuple(str(name) for name in names) if isinstance(names, list) else ()

    def _sentence(self) -> str:
        parts = [self.detail.rstrip()]
        # the server's detail may already name them
        near = [name for name in self.near if name not in self.detail]
        if near:
            parts.append(f"Near matches: {', '.join(near)}.")
        classes = self.problem.get("classes")
        if isinstance(classes, dict):
            parts += [f"Classes of the {whose}: {_shortened(names)}." for whose, names in classes.items()]
        errors = self.problem.get("errors")
        if isinstance(errors, list):
            parts += [_field(error) for error in errors]
        return f"{' '.join(parts)} (status {self.status})"


class AccessError(RegistryError):
    """The registry wants a key, or another one (401, 403)."""

    def _sentence(self) -> str:
        if self.status == UNAUTHORIZED:
            return f"{super()._sentence()} `sat` sends the key in SAT_KEY, or in the file that SAT_KEY_FILE names."
        return super()._sentence()


class NotFoundError(RegistryError):
    """Nothing has this name (404)."""


class ConflictError(RegistryError):
    """It contradicts what is there, or what is needed is not there yet (409)."""


class InvalidError(RegistryError):
    """The registry cannot use what was sent (400, 413, 415, 422)."""


class BusyError(RegistryError):
    """The registry cannot answer now (429, 503)."""


_BY_STATUS: dict[int, type[RegistryError]] = {
    400: InvalidError,
    401: AccessError,
    403: AccessError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidError,
    415: InvalidError,
    422: InvalidError,
    429: BusyError,
    503: BusyError,
}


def registry_error(status: int, problem: Mapping[str, object], retry_after: float | None = None) -> RegistryError:
    """Return the error that stands for this status."""
    return _BY_STATUS.get(status, RegistryError)(status, problem, retry_after)


def _shortened(names: object, most: int = 12) -> str:
    if not isinstance(names, list):
        return str(names)
    shown = ", ".join(str(name) for name in names[:most])
    return f"{shown}, … ({len(names)} in all)" if len(names) > most else shown


def _field(error: object) -> str:
    """Return `field: message` of one entry of a validation problem."""
    if not isinstance(error, dict):
        return f"{error}."
    place = error.get("loc") or error.get("field") or ()
    where = ".".join(str(part) for part in place if part != "body") if isinstance(place, list) else str(place)
    what = error.get("msg") or error.get("detail") or error.get("message") or "not usable"
    return f"{where}: {what}." if where else f"{what}."
