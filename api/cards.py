"""Model cards: Markdown by whoever registered a model, as HTML that can do nothing in a reader's browser."""

import threading
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt

# CommonMark with tables. HTML in the text is shown as text; deep nesting is cut, since it costs time and says nothing.
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable(["table", "strikethrough"])
# No images: they would tell another host who reads, and this one serves none. Nothing that runs, loads or is styled.
_TAGS = frozenset(
    {
        *("a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre"),
        *("s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
    }
)
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES = frozenset({"http", "https", "mailto"})
# for whoever opens it as a page of its own: nothing may be loaded or run even if the cleaning should fail
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"


# the costliest card of 100,000 characters takes seconds, in which other threads get half of the processor
_RENDERING = threading.Lock()


def render(markdown: str) -> str:
    """The card as a fragment of HTML; one is rendered at a time. What a hundred readers ask for is rendered once."""
    with _RENDERING:
        return _render(markdown)


@lru_cache(maxsize=32)
def _render(markdown: str) -> str:
    return nh3.clean(
        _MARKDOWN.render(markdown),
        tags=set(_TAGS),
        clean_content_tags={"script", "style"},
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes=set(_SCHEMES),
        link_rel="noopener noreferrer nofollow",
    )
