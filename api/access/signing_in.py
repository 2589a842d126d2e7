"""The page on which a browser exchanges a key for a cookie, shown where it asks for a page that needs one."""

from collections.abc import Mapping
from html import escape
from urllib.parse import quote

from starlette.responses import HTMLResponse
from starlette.types import Scope

from registry.keys import PREFIX

# no script: the form is sent as browsers have always sent forms
POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>SAT Registry: sign in</title>
<link rel="stylesheet" href="/static/sign-in.css">
<main>
<h1>SAT Registry</h1>
<form method="post" action="/session">
<input type="hidden" name="next" value="{next}">
<label>Key <input type="password" name="key" placeholder="{prefix}…" autocomplete="current-password" required autofocus>
</label>
<button>Sign in</button>
<p role="alert">{complaint}</p>
</form>
<p>An administrator makes keys with <code>sat keys create</code>.</p>
</main>
</html>
"""


def wants_page(scope: Scope) -> bool:
    """Whether a browser asks for a page to show."""
    if scope["method"] != "GET":
        return False
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


def sign_in_page(
    scope: Scope, headers: Mapping[str, str], complaint: str = "", then: str | None = None
) -> HTMLResponse:
    """The 401 that a person can answer. then: where to go afterwards; left out, to what was asked for."""
    if then is None:
        query = scope["query_string"].decode("latin-1")
        then = quote(scope["path"]) + (f"?{query}" if query else "")
    page = _PAGE.format(next=escape(then), prefix=PREFIX, complaint=escape(complaint))
    policy = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(page, status_code=401, headers={**headers, **policy})


def own_path(text: str) -> str:
    """The text where it is a path of this server, else `/docs`: a form must not send anybody elsewhere."""
    plain = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and text.isascii()
    return text if plain else "/docs"
