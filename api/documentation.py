"""/docs: Swagger UI from files of this server, so that the page needs no other host and no inline script."""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import HTMLResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

# Swagger UI sets style attributes and draws its icons from data: addresses
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src "
    "'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>SAT Registry: API</title>
<link rel="icon" href="/static/swagger/favicon-32x32.png">
<link rel="stylesheet" href="/static/swagger/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/static/swagger/swagger-ui-bundle.js"></script>
<script src="/static/docs.js"></script>
</body>
</html>
"""


def install(app: FastAPI) -> None:
    """Serve /docs, and the static files of all pages."""

    @app.get("/docs", include_in_schema=False)
    async def show_documentation() -> HTMLResponse:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": POLICY})

    swagger = str(files("fastapi_swagger.resources"))
    own = Path(__file__).parent / "static"
    # the longer path first: routes are tried in order
    app.router.routes.append(Mount("/static/swagger", StaticFiles(directory=swagger), name="swagger"))
    app.router.routes.append(Mount("/static", StaticFiles(directory=own), name="static"))
