"""What the OpenAPI document says beside the routes."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from api.schemas.keys import SignIn
from registry.declarations import ImageSetDeclaration, ModelDeclaration

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


def operation_id(route: APIRoute) -> str:
    """The name of the route's function: stable, and readable in generated clients."""
    return route.name


def install(app: FastAPI) -> None:
    """Add the forms' metadata, which no parameter of a route declares, to the document's schemas."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, tags=TAGS
            )
            _, forms = models_json_schema(
                [(ModelDeclaration, "validation"), (ImageSetDeclaration, "validation"), (SignIn, "validation")],
                ref_template="#/components/schemas/{model}",
            )
            document["components"]["schemas"] |= forms["$defs"]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way of extending the document
