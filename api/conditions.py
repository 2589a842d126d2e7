"""If-Match: the entity tags of things that can be changed begin with their state, and a hash of the answer follows.

A tag is compared whole when something is read again (If-None-Match), and by its state alone when it is to be changed:
what has been measured since is no change that anybody made.
"""

import re
from typing import Any

from fastapi import Request

from api.cache import Body, tag
from registry.conditions import Seen
from registry.errors import UnconditionalError

# RFC 9110, 8.8.3; a weak tag (W/) never matches here (13.1.1)
_ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def stated_body(state: str, content: bytes) -> Body:
    """The JSON answer with its ETag, `"<state>-<hash>"`."""
    return Body(content, f'"{state}-{tag(content)[1:]}', "application/json")


def seen_states(request: Request, *, required: bool = False) -> Seen:
    """The states that If-Match names, on all its lines; None for any (`*`), or where it may be and is left out."""
    lines = request.headers.getlist("if-match")
    if not lines and required:
        raise UnconditionalError(
            "send the ETag that you read it with in If-Match, so that nobody's change is undone unseen; "
            "`If-Match: *` changes whatever is there."
        )
    given = ",".join(lines).strip()
    if not lines or given == "*":
        return None
    return frozenset(text.partition("-")[0] for weak, text in _ENTITY_TAG.findall(given) if not weak)


def if_match(*, required: bool = False) -> dict[str, Any]:
    """The header as the OpenAPI document of an operation describes it."""
    return {
        "parameters": [
            {
                "name": "If-Match",
                "in": "header",
                "required": required,
                "schema": {"type": "string"},
                "description": "The ETag that it was read with; `*`: whatever it is.",
                "example": "*",
            }
        ]
    }
