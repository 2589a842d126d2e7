"""Lists in pages: a stated limit and an opaque cursor that names the last item, so that pages do not shift."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request

from registry.errors import InvalidError

T = TypeVar("T")
MAX_LIMIT = 200
# what the columns of ids hold
MOST_KEY, MOST_BIG_KEY = 2**31 - 1, 2**63 - 1
FOREIGN = "`cursor` is not one of this list: start again without it."
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description=f"Items a page, at most {MAX_LIMIT}.")]
Cursor = Annotated[str | None, Query(description="Where to go on: taken from `next` of the page before.")]


def encode_cursor(position: Any) -> str:
    """A cursor for a JSON value."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, kind: type) -> Any:
    """The value in the cursor, None without one; InvalidError when it is no cursor of this list."""
    if cursor is None:
        return None
    try:
        value = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        _require_storable(value)
    except (ValueError, binascii.Error, RecursionError):
        value = None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidError(FOREIGN)
    return value


def decode_position(cursor: str | None, *, most: int = MOST_KEY) -> int:
    """The whole number in the cursor, 0 without one; InvalidError when no item of this list can be there."""
    position = 0 if cursor is None else decode_cursor(cursor, int)
    if not 0 <= position <= most:
        raise InvalidError(FOREIGN)
    return int(position)


def next_url(request: Request, position: Any) -> str:
    """Path and query of the next page."""
    url = request.url.include_query_params(cursor=encode_cursor(position))
    return f"{url.path}?{url.query}"


def page_of(
    items: Sequence[T], key: Callable[[T], list[Any]], *, cursor: str | None, limit: int, descending: bool
) -> tuple[list[T], list[Any] | None]:
    """One page of items sorted by key (unique; None comes last), and the key to go on from, None at the end."""
    after = decode_cursor(cursor, list)
    ordered = sorted(items, key=lambda item: _sortable(key(item)), reverse=descending)
    with_value = [item for item in ordered if key(item)[0] is not None]
    ordered = [*with_value, *(item for item in ordered if key(item)[0] is None)]
    start = 0
    if after is not None:
        try:
            start = next(
                (i for i, item in enumerate(ordered) if _follows(key(item), after, descending=descending)), len(ordered)
            )
        except (TypeError, IndexError) as error:
            raise InvalidError(FOREIGN) from error
    page = ordered[start : start + limit]
    return page, key(page[-1]) if start + limit < len(ordered) else None


def _require_storable(value: Any) -> None:
    """ValueError for text that the database could not hold: half a surrogate, or U+0000."""
    text = json.dumps(value, ensure_ascii=False)
    text.encode()
    if "\\u0000" in text:
        raise ValueError("U+0000")


def _sortable(key: list[Any]) -> tuple[bool, list[Any]]:
    return key[0] is None, key if key[0] is not None else key[1:]


def _follows(key: list[Any], after: list[Any], *, descending: bool) -> bool:
    if (key[0] is None) != (after[0] is None):
        return key[0] is None
    one, other = (key, after) if key[0] is not None else (key[1:], after[1:])
    return one < other if descending else one > other
