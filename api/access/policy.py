"""Which scope each method of each route needs: the one table. What is not in it needs `admin`."""

from collections.abc import Mapping
from functools import lru_cache

from registry.tables import Scope

# For everybody: whether the process lives and is ready, signing in and out, and the files that pages are made of.
# A HEAD is a GET whose body is left out.
PUBLIC = frozenset({("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/session"), ("DELETE", "/session")})
STATIC = "/static/"

READ, WRITE, ADMIN = Scope.READ, Scope.WRITE, Scope.ADMIN
# A segment in braces stands for any one segment that is not empty, as in the routes themselves.
RULES: Mapping[str, Mapping[str, Scope]] = {
    "/": {"GET": READ},
    "/docs": {"GET": READ},
    "/openapi.json": {"GET": READ},
    "/metrics": {"GET": READ},
    "/session": {"GET": READ},
    # models: that they are the key's team's is checked where they are changed (registry.access.require_owner)
    "/models": {"GET": READ, "POST": WRITE},
    "/models/{model}": {"GET": READ, "PATCH": WRITE, "DELETE": WRITE},
    "/models/{model}/card": {"GET": READ},
    "/models/{model}/checkpoint": {"GET": READ},
    "/models/{model}/events": {"GET": READ},
    "/models/{model}/restore": {"POST": WRITE},
    "/models/{model}/retry": {"POST": WRITE},
    "/events": {"GET": READ},
    "/aliases": {"GET": READ},
    "/aliases/{alias}": {"GET": READ, "PUT": WRITE, "DELETE": WRITE},
    "/uploads": {"POST": WRITE},
    "/uploads/{upload}": {"GET": WRITE, "PATCH": WRITE, "DELETE": WRITE},
    "/webhooks": {"GET": WRITE, "POST": WRITE},
    "/webhooks/{webhook}": {"GET": WRITE, "DELETE": WRITE},
    "/webhooks/{webhook}/deliveries": {"GET": WRITE},
    # nothing is started by a plan
    "/plan": {"POST": READ},
    "/similar/{model}": {"GET": READ},
    "/pairs": {"GET": READ},
    "/pairs/{a}/{b}": {"GET": READ},
    "/matrix": {"GET": READ},
    "/agreement": {"GET": READ},
    "/clusters": {"GET": READ},
    "/map": {"GET": READ},
    "/importance": {"GET": READ},
    "/recommend/ensemble": {"GET": READ},
    "/recommend/teacher": {"GET": READ},
    # what everybody's models are measured on, and by whom
    "/image-sets": {"GET": READ, "POST": ADMIN},
    "/image-sets/{name}": {"GET": READ},
    "/image-sets/{name}/content": {"GET": READ},
    "/protocols": {"GET": READ, "POST": ADMIN},
    "/protocols/attacks": {"GET": READ},
    "/comparisons": {"GET": READ, "POST": ADMIN},
    "/comparisons/{image_set}/{protocol}": {"GET": READ, "PATCH": ADMIN},
    "/jobs": {"GET": READ},
    "/workers": {"GET": READ},
    "/workers/{worker}": {"GET": READ, "PATCH": ADMIN},
    "/keys": {"GET": ADMIN, "POST": ADMIN},
    "/keys/{name}": {"DELETE": ADMIN},
    "/audit": {"GET": ADMIN},
    "/gc": {"POST": ADMIN},
    "/doctor": {"GET": ADMIN},
}


@lru_cache(maxsize=4096)  # most requests are for few paths
def required_scope(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None where no key is asked for.

    The path is compared as the router gets it, decoded once: whatever the router would not match exactly (a slash
    more, dots, a second encoding) is in no rule either, and needs `admin`.
    """
    if method == "HEAD":
        method = "GET"
    if (method, path) in PUBLIC or (method == "GET" and path.startswith(STATIC)):
        return None
    exact = _EXACT.get((method, path))
    if exact is not None:
        return exact
    segments = path.split("/")
    for pattern, scope in _PATTERNS.get((method, segments[1] if len(segments) > 1 else "", len(segments)), ()):
        if all(
            wanted == given if wanted is not None else given for wanted, given in zip(pattern, segments, strict=True)
        ):
            return scope
    return ADMIN


Pattern = tuple[str | None, ...]
_EXACT: dict[tuple[str, str], Scope] = {}
# by method, first segment and number of segments, which leaves one or two to compare
_PATTERNS: dict[tuple[str, str, int], list[tuple[Pattern, Scope]]] = {}


def _compile() -> None:
    for template, methods in RULES.items():
        for method, scope in methods.items():
            if "{" not in template:
                _EXACT[method, template] = scope
                continue
            pattern = tuple(None if part.startswith("{") else part for part in template.split("/"))
            _PATTERNS.setdefault((method, str(pattern[1]), len(pattern)), []).append((pattern, scope))


_compile()
