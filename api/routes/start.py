"""GET /: what the registry holds, and how to ask it."""

from html import escape

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.services import ServicesOf
from registry.reads.zoo import Zoo
from registry.settings import KeyMode

router = APIRouter(include_in_schema=False)
POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>SAT Registry</title>
<link rel="stylesheet" href="/static/sign-in.css">
<main>
<h1>SAT Registry</h1>
<p>A registry of image classifiers that knows which of them behave alike: similarity by attack transferability.</p>
<p>It holds {models}. {comparisons}</p>
<p><a href="/docs">Every route, to try out</a> · <a href="/openapi.json">the OpenAPI document</a></p>
<p>From a terminal:</p>
<pre>curl {key}{url}models
curl {key}'{url}similar/{model}?k=3'
curl {key}'{url}recommend/ensemble?n=3'
sat models --url {url}</pre>
</main>
</html>
"""


@router.get("/")
async def show_start(request: Request, services: ServicesOf) -> HTMLResponse:
    """A page without scripts."""
    with_key = services.settings.keys is KeyMode.REQUIRED
    page = _page(services.watch.view().zoo, str(request.base_url), with_key=with_key)
    return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})


def _page(zoo: Zoo, url: str, *, with_key: bool) -> str:
    measured = sum(model.measured for model in zoo.models)
    comparisons = ", ".join(f"{each.name} ({each.state})" for each in zoo.comparisons)
    return _PAGE.format(
        models=f"{len(zoo.models)} models, {measured} of them prepared",
        comparisons=escape(f"Compared on: {comparisons}." if comparisons else "Nothing is compared yet."),
        key="-H 'Authorization: Bearer sat_…' " if with_key else "",
        url=escape(url),
        model=escape(zoo.models[0].name if zoo.models else "resnet-a"),
    )
