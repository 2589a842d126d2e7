"""What a route that creates or starts something does for a request under an Idempotency-Key."""

from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session

from registry.idempotency import Ticket, settle

ENTRY = "sat.once"
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="The same key with the same request within a day does nothing twice, and is answered alike.",
    ),
]


class Once:
    """A request that must be done once; without a key, any other."""

    def __init__(self) -> None:
        self.ticket: Ticket | None = None

    def done(self, session: Session, status: int, *, location: str | None = None, body: bytes = b"") -> None:
        """Say what the request will be answered, as the last thing in the transaction that does its work.

        body: the JSON of the answer where it is known by now. Where it is not, `location` must name what shows it.
        """
        if self.ticket is None:
            return
        headers = {} if location is None else {"Location": location}
        if body:
            headers["Content-Type"] = "application/json"
        settle(session, self.ticket, status, headers, body)


async def get_once(request: Request, _key: IdempotencyKey = None) -> Once:
    """The request as the idempotency layer noted it."""
    once: Once = request.scope.get(ENTRY) or Once()
    return once


OnceOf = Annotated[Once, Depends(get_once)]
