"""How routes read: from a snapshot, off the event loop, kept as bytes, with one fresh look for an unknown name."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from api.cache import Address, Body, Source, make_body
from api.services import Services, ServicesOf
from registry.errors import NotFoundError
from registry.reads.snapshot import Snapshot

ImageSetParameter = Annotated[
    str | None,
    Query(
        alias="image_set",
        description="Name of the image set; left out: the default comparison's.",
        examples=["digits"],
    ),
]
ProtocolParameter = Annotated[
    str | None,
    Query(alias="protocol", description="Name of the protocol; left out: the default comparison's.", examples=["pgd"]),
]

T = TypeVar("T")


class Reads:
    """A read of one comparison."""

    def __init__(self, request: Request, services: Services, image_set: str | None, protocol: str | None) -> None:
        self.request = request
        self.services = services
        self._selection = (image_set, protocol)

    async def snapshot(self) -> Snapshot:
        """The comparison's snapshot; it asks the database only where nobody asked for this comparison before."""
        known = self.services.watch.peek(*self._selection)
        if known is not None:
            return known
        return await run_in_threadpool(self.services.watch.select, *self._selection)

    async def use(self, read: Callable[[Snapshot], T], *, quick: bool = False) -> T:
        """`read` of the snapshot, in a thread; of a fresh one where the first did not know a name.

        quick: it takes less time than the way to a thread and back, and asks nobody.
        """
        snapshot = await self.snapshot()
        try:
            return read(snapshot) if quick else await run_in_threadpool(read, snapshot)
        except NotFoundError:
            await run_in_threadpool(self.services.watch.look_again)
            fresh = await self.snapshot()
            if fresh is snapshot:
                raise
            return await run_in_threadpool(read, fresh)

    async def answer(self, read: Callable[[Snapshot], BaseModel], *, quick: bool = False) -> Response:
        """The JSON answer, made once a snapshot and query, with its ETag."""

        def build(snapshot: Snapshot) -> tuple[Snapshot, Body]:
            return snapshot, make_body(read(snapshot).model_dump_json().encode())

        # one that is kept was answered ahead of the routes (api/hot.py)
        snapshot, body = await self.use(build, quick=quick)
        self.keep(body, snapshot)
        return body.respond(self.request)

    def keep(self, body: Body, snapshot: Snapshot) -> None:
        """Give the same answer to the same request while this snapshot is the newest."""
        source = Source(*self._selection, snapshot.serial)
        self.services.cache.put(address_of(self.request), body, source)


def address_of(request: Request) -> Address:
    """Where the answer is kept."""
    return Address(request.scope["path"], request.scope["query_string"])


async def get_reads(
    request: Request,
    services: ServicesOf,
    image_set: ImageSetParameter = None,
    protocol: ProtocolParameter = None,
) -> Reads:
    """The read that the request asks for. A coroutine, as `get_services` is."""
    return Reads(request, services, image_set, protocol)


ReadsOf = Annotated[Reads, Depends(get_reads)]
