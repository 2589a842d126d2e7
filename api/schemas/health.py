"""The process's own state as the API shows it."""

from typing import Literal

from api.schemas.base import Answer


class Health(Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Answer):
    """What the process needs, where it has it. Degraded: answers go on, new work is only found a little later."""

    status: Literal["ready", "degraded"]
    checks: dict[str, str]
