"""Model cards: what was written comes back, and as HTML nothing that a browser could run."""

import re
import time

import pytest

from api.cards import render
from api.routes.cards import prefers_html
from tests.api.conftest import Api
from tests.api.test_models import register
from tests.api.world import World

CARD = (
    "# resnet-a\n\nTrained on *digits*: <https://example.com/a?b=1&c=2>.\n\n| part | top-1 |\n|-|-|\n| select | 0.9 |\n"
)


def test_a_card_comes_back_as_it_was_written_and_as_html(api: Api, zoo: World) -> None:
    assert api.get("/models/resnet-a/card").text == ""
    api.patch("/models/resnet-a", json={"card": CARD}, headers={"If-Match": "*"})
    plain = api.get("/models/resnet-a/card")
    assert (plain.text, plain.headers["content-type"]) == (CARD, "text/markdown; charset=utf-8")
    page = api.get("/models/resnet-a/card", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for part in ("<h1>resnet-a</h1>", "<em>digits</em>", "<td>0.9</td>", 'href="https://example.com/a?b=1&amp;c=2"'):
        assert part in page.text
    assert 'rel="noopener noreferrer nofollow"' in page.text
    for answer, accept in ((plain, "*/*"), (page, "text/html")):
        headers = {"Accept": accept, "If-None-Match": answer.headers["etag"]}
        assert api.get("/models/resnet-a/card", headers=headers).status_code == 304
    assert plain.headers["etag"] != page.headers["etag"]
    assert plain.headers["vary"] == "Accept"
    assert api.get("/models/nobody/card").status_code == 404


def test_a_card_can_come_with_the_registration(api: Api, world: World) -> None:
    assert register(api, card="# mine").status_code == 202
    assert api.get("/models/resnet-a/card", settle=False).text == "# mine"


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("*/*", False),
        ("text/html", True),
        ("text/markdown", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("text/markdown, text/html;q=0.9", False),
        ("text/html;q=nonsense", False),
        ("text/*;q=0.5, text/html;q=0.4", False),
        ("", False),
    ],
)
def test_the_preferred_kind_is_given(accept: str, html: bool) -> None:  # noqa: FBT001  parametrised
    assert prefers_html(accept) is html


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe src='https://evil.test'></iframe>",
    "<style>*{background:url(https://evil.test)}</style>",
    "<form action=https://evil.test><input name=key></form>",
    "<a href='javascript:alert(1)'>x</a>",
    "<base href='https://evil.test/'>",
    "<meta http-equiv=refresh content='0;url=https://evil.test'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](vbscript:msgbox(1))",
    "[x](file:///etc/passwd)",
    "<javascript:alert(1)>",
    "![x](https://evil.test/pixel.png)",
    "![x](javascript:alert(1))",
    '[x](https://a.test "onmouseover=alert(1)//")',
    '[x](https://a.test/"onmouseover="alert\\(1\\))',
    "[x]: javascript:alert(1)\n\n[x]",
    "```html\n<script>alert(1)</script>\n```",
    "`<script>alert(1)</script>`",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "\x00<script>alert(1)</script>\ufeff",
    "<!--><script>alert(1)</script-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<details open ontoggle=alert(1)>",
    "<div style='position:fixed;inset:0'>cover</div>",
    "<a id=location name=cookie>clobber</a>",
]


@pytest.mark.parametrize("card", HOSTILE)
def test_a_hostile_card_is_only_text(card: str) -> None:
    html = render(card)
    tags = re.findall(r"<\s*/?\s*([a-zA-Z!?\[][^\s>/]*)([^>]*)>", html)
    assert {name.lower() for name, _ in tags} <= {"p", "a", "code", "pre", "em", "br"}, html
    for _, attributes in tags:
        assert re.sub(r'(href|title|rel)="[^"]*"', "", attributes).strip() == "", html
        for target in re.findall(r'href="([^"]*)"', attributes):
            assert target.startswith(("https://", "http://", "mailto:")), html


@pytest.mark.parametrize(
    "card",
    [
        "[" * 50_000,
        "![" * 40_000 + "](" * 10_000,
        "[x](" * 25_000,
        "a\n" * 50_000,
        "_a" * 49_999,
        "**a " * 24_999,
        "[a]: b\n" * 14_000,
    ],
    ids=lambda card: card[:6].strip(),
)
def test_a_card_that_is_made_to_cost_time_costs_little(card: str) -> None:
    began = time.process_time()
    html = render(card)
    assert time.process_time() - began < 3
    assert len(html) < 10_000_000


def test_links_within_the_registry_stay() -> None:
    assert 'href="/models/resnet-b"' in render("[its successor](/models/resnet-b)")
