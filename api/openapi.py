"""What the OpenAPI document says beside the routes: who may ask, every error that may come, and where answers lead."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from api.access.credentials import COOKIE
from api.access.policy import required_scope
from api.openapi_examples import add_examples
from api.openapi_links import LINKS
from api.problems import MEDIA_TYPE
from api.schemas.base import Problem
from api.schemas.keys import SignIn
from registry.declarations import ImageSetDeclaration, ModelDeclaration, PlanDeclaration

TAGS = [
    {"name": "models", "description": "Register classifiers, follow their measuring, fetch their weights."},
    {
        "name": "similarity",
        "description": "SAT: models are alike when adversarial images made against one fool both.",
    },
    {"name": "recommendations", "description": "Which models to combine, and which to learn from."},
    {"name": "measuring", "description": "What models are compared on, and how."},
    {"name": "work", "description": "Jobs and workers."},
    {"name": "access", "description": "API keys: who may ask, and for what."},
    {"name": "operations", "description": "For whoever runs the server."},
]
DESCRIPTION = (
    "A registry that measures how alike image classifiers behave: similarity by attack transferability (SAT). "
    "Errors are problem documents (RFC 9457) whose `detail` says what to do. Reads carry an ETag. Lists come in pages: "
    "`next` is the path of the next one."
)
METHODS = ("get", "put", "post", "delete", "patch")
FIRST_ERROR = 400
PROBLEM, FRAMEWORKS_OWN = "#/components/schemas/Problem", "#/components/schemas/HTTPValidationError"
# On every route: without a key, with too little of one, unreadable, a fault, the database away.
ALWAYS = (401, 403, 422, 500, 503)
OF_A_THING, OF_A_BODY, OF_A_CHANGE = (404,), (408, 413, 415), (409, 429)
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}}
_REQUEST_ID = {
    "X-Request-Id": {"description": "As it was sent, or made; the server's log has it.", "schema": {"type": "string"}}
}
_LOCATION = {"Location": {"description": "Where it is.", "schema": {"type": "string", "format": "uri-reference"}}}
_REPLAYED = {
    "Idempotency-Replayed": {
        "description": "`true`: the answer to an earlier request under the same Idempotency-Key.",
        "schema": {"type": "string", "const": "true"},
    }
}
_OFFSET = {"Upload-Offset": {"description": "How many bytes are there.", "schema": {"type": "string"}}}
_ETAG = {"ETag": {"description": "For If-None-Match and If-Match.", "schema": {"type": "string"}}}
# these are shown in their lists alone
WITHOUT_LOCATION = frozenset({"add_protocol", "make_key"})
# changes whose answers carry the new tag
TAGGED_CHANGES = frozenset(
    {
        "create_model", "patch_model", "restore_deleted_model", "retry_failed_model", "put_alias", "add_comparison",
        "patch_comparison", "patch_worker",
    }
)  # fmt: skip


def operation_id(route: APIRoute) -> str:
    """The name of the route's function: stable, and readable in generated clients."""
    return route.name


def install(app: FastAPI) -> None:
    """Have the app make its document here, once."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(
                    title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS
                )
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way of extending the document


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    components = document["components"]
    _, forms = models_json_schema(
        [(each, "validation") for each in (ModelDeclaration, PlanDeclaration, ImageSetDeclaration, SignIn, Problem)],
        ref_template="#/components/schemas/{model}",
    )
    components["schemas"] |= forms["$defs"]
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which are never sent
        components["schemas"].pop(name, None)
    _say_tuples_plainly(components["schemas"])
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key; loopback mode asks for none."},
        "page": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "What POST /session gives pages."},
    }
    components["responses"] = {}
    for path, method, operation in operations(document):
        scope = required_scope(method.upper(), path)
        operation["security"] = [] if scope is None else [{"key": []}, {"page": []}]
        if scope is not None:
            operation["x-scope"] = scope.value
        _add_errors(path, method, operation, components["responses"])
        _add_headers(method, path, operation)
        add_examples(operation)
        for status, links in LINKS.get(operation["operationId"], {}).items():
            operation["responses"][status]["links"] = links
    return document


def _say_tuples_plainly(schema: Any) -> None:
    """Lists of n values of one kind, in words that every reader knows (prefixItems came with 2020-12)."""
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _say_tuples_plainly(inner)
    kinds = schema.get("prefixItems") if isinstance(schema, dict) else None
    if isinstance(kinds, list) and all(kind == kinds[0] for kind in kinds):
        schema["items"] = schema.pop("prefixItems")[0]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and content of every operation of a document."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def _add_errors(path: str, method: str, operation: dict[str, Any], shared: dict[str, Any]) -> None:
    """Every error is a problem document: what a route declares of its own, and what may come from any."""
    responses = operation["responses"]
    statuses = {int(status) for status in responses if status.isdigit() and _is_problem(int(status), responses[status])}
    statuses |= set(ALWAYS) - {int(status) for status in responses if status.isdigit()}
    statuses |= set(OF_A_THING) if "{" in path or _selects(operation) else set()
    statuses |= set(OF_A_BODY) if "requestBody" in operation else set()
    statuses |= set(OF_A_CHANGE) if method != "get" else set()
    if required_scope(method.upper(), path) is None:
        statuses -= {403, 429} if method == "get" else {429}
    for status in sorted(statuses):
        shared.setdefault(str(status), _problem_response(status))
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}


def _is_problem(status: int, response: dict[str, Any]) -> bool:
    schemas = {content.get("schema", {}).get("$ref", "") for content in response.get("content", {}).values()}
    return (
        status >= FIRST_ERROR
        and schemas <= {"", PROBLEM, FRAMEWORKS_OWN}
        and "text/html" not in response.get("content", ())
    )


def _selects(operation: dict[str, Any]) -> bool:
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    return bool(names & {"image_set", "protocol", "comparisons", "include", "student"})


def _problem_response(status: int) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    return {
        "description": f"{phrase}; `detail` says what to do.",
        "headers": _REQUEST_ID | (_RETRY_AFTER if status in {429, 500, 503} else {}),
        "content": {MEDIA_TYPE: {"schema": {"$ref": PROBLEM}}},
    }


def _add_headers(method: str, path: str, operation: dict[str, Any]) -> None:
    """What good answers carry beside their bodies. Reads with an entity tag can be asked for again for nothing."""
    name = operation["operationId"]
    for status in sorted({"200", "201", "202", "204"} & set(operation["responses"])):
        response = operation["responses"][status]
        headers: dict[str, Any] = {}
        new = status == "201" and name not in WITHOUT_LOCATION
        if new or name == "add_image_set" or (status == "202" and method == "post"):
            headers |= _LOCATION
        if status == "202":
            headers |= _RETRY_AFTER
        if method == "post" and path != "/session":
            headers |= _REPLAYED
        if path.startswith("/uploads") and status != "204":
            headers |= _OFFSET
        if name in TAGGED_CHANGES or (method == "get" and _has_tag(response)):
            headers |= _ETAG
        response.setdefault("headers", {}).update(headers | _REQUEST_ID)
    good = operation["responses"].get("200", {})
    if method == "get" and "ETag" in good["headers"]:
        operation["responses"].setdefault("304", {"description": "Unchanged since the tag in If-None-Match."})


def _has_tag(response: dict[str, Any]) -> bool:
    """A stream has no end to make a tag of."""
    return "text/event-stream" not in response.get("content", ())
