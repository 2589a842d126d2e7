"""/uploads: a large file in pieces, each continued from where the last one broke off."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BeforeValidator, Field
from starlette.requests import ClientDisconnect

from api.access.actors import ActorOf
from api.idempotency.once import OnceOf
from api.schemas.base import Answer, Problem
from api.services import Services, ServicesOf
from api.uploads import WRITE_BYTES, Room, too_large, writing_to_disk
from registry.access import Actor
from registry.declarations import MOST_EXACT, Declaration, require_number
from registry.errors import TooLargeError, UnsupportedError
from registry.tables import UploadRow
from registry.uploads import appending, begin_upload, discard, drop_upload, get_upload, offset_of, touch_upload

router = APIRouter(prefix="/uploads", tags=["models"])
OFFSET = "Upload-Offset"
PIECE = "application/octet-stream"
BODY = {"requestBody": {"required": True, "content": {PIECE: {"schema": {"type": "string", "format": "binary"}}}}}
UploadId = Annotated[
    str, Path(description="The upload's id.", examples=["3q2-7w"], max_length=100, pattern="^[A-Za-z0-9_-]+$")
]
At = Annotated[int, Header(alias=OFFSET, ge=0, le=MOST_EXACT, description="How many bytes are there already.")]


class UploadDeclaration(Declaration):
    """The body of POST /uploads."""

    bytes: Annotated[
        int,
        Field(gt=0, le=MOST_EXACT, examples=[1_000_000], description="Of the file."),
        BeforeValidator(require_number),
    ]


class UploadState(Answer):
    """How far an upload is."""

    id: str = Field(description="What POST /models takes as `upload`.")
    bytes: int
    offset: int = Field(description="How many bytes are there: where to go on.")
    complete: bool


@router.post(
    "",
    status_code=201,
    response_model=UploadState,
    summary="Begin an upload in pieces",
    responses={status: {"model": Problem} for status in (413, 507)},
)
def begin(declaration: UploadDeclaration, services: ServicesOf, actor: ActorOf, once: OnceOf) -> Response:
    """For files that a connection may not survive: send pieces with PATCH, then register with `upload`."""
    limit = services.settings.max_upload_bytes
    if declaration.bytes > limit:
        raise too_large(limit)
    services.store.require_room(declaration.bytes, services.sessions)
    with services.writing() as session:
        row = begin_upload(session, services.store, declaration.bytes, actor=actor, largest=limit)
        state = _state(services, row)
        answer = state.model_dump_json().encode()
        once.done(session, 201, location=f"/uploads/{state.id}", body=answer)
    headers = {"Location": f"/uploads/{state.id}", OFFSET: "0", "Cache-Control": "no-store"}
    return Response(answer, status_code=201, media_type="application/json", headers=headers)


@router.get("/{upload}", response_model=UploadState, summary="How far an upload is")
def show(upload: UploadId, services: ServicesOf, actor: ActorOf) -> Response:
    """Where to go on after a connection broke."""
    state = _state(services, _find(services, upload, actor))
    headers = {OFFSET: str(state.offset), "Cache-Control": "no-store"}
    return Response(state.model_dump_json(), media_type="application/json", headers=headers)


@router.patch(
    "/{upload}",
    response_model=UploadState,
    summary="Send the next piece",
    openapi_extra=BODY,
    responses={status: {"model": Problem} for status in (409, 413, 415, 507)},
)
async def append(upload: UploadId, offset: At, request: Request, services: ServicesOf, actor: ActorOf) -> Response:
    """Bytes from `Upload-Offset` on. What came before a connection broke stays; 409 says where to go on."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != PIECE:
        raise UnsupportedError(f"send a piece of the file as {PIECE}.")
    row = await run_in_threadpool(_find, services, upload, actor)
    with appending(services.store, row, offset) as file:
        present, unwritten, room = offset, bytearray(), Room(services)
        try:
            async for chunk in request.stream():
                present += len(chunk)
                if present > row.bytes:
                    raise TooLargeError(
                        f"this upload was begun for a file of {row.bytes} bytes, and more than those came: give it "
                        "up, and begin one of the file's whole size."
                    )
                await room.take(len(chunk))
                unwritten += chunk
                if len(unwritten) >= WRITE_BYTES:
                    await run_in_threadpool(writing_to_disk, file, unwritten)
        except ClientDisconnect:
            await run_in_threadpool(writing_to_disk, file, unwritten)
            raise
        await run_in_threadpool(writing_to_disk, file, unwritten)
    state = await run_in_threadpool(_touched, services, row)
    return Response(state.model_dump_json(), media_type="application/json", headers={OFFSET: str(state.offset)})


@router.delete("/{upload}", status_code=204, summary="Give an upload up")
def give_up(upload: UploadId, services: ServicesOf, actor: ActorOf) -> None:
    """What came of it is removed."""
    row = _find(services, upload, actor)
    with services.writing() as session:
        drop_upload(session, row)
    discard(services.store, row)


def _find(services: Services, upload: str, actor: Actor) -> UploadRow:
    with services.sessions() as session:
        return get_upload(session, upload, actor=actor)


def _touched(services: Services, row: UploadRow) -> UploadState:
    with services.writing() as session:
        touch_upload(session, row)
    return _state(services, row)


def _state(services: Services, row: UploadRow) -> UploadState:
    offset = offset_of(services.store, row)
    return UploadState(id=row.id, bytes=row.bytes, offset=offset, complete=offset == row.bytes)
