"""/image-sets: what models are compared on."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import AfterValidator

from api.access.actors import ActorOf
from api.cache import make_body, matches
from api.idempotency.once import Once, OnceOf
from api.paging import Cursor, Limit, decode_position, next_url
from api.schemas.base import Problem
from api.schemas.measuring import ImageSet, ImageSetPage
from api.services import ReadSession, Services, ServicesOf
from api.uploads import check_tensors, parse_metadata, receive_upload
from registry.access import Actor
from registry.declarations import ImageSetDeclaration, require_no_nul
from registry.image_sets import check_content, create_image_set
from registry.reads.measuring import find_image_set, get_image_set, list_image_sets

router = APIRouter(prefix="/image-sets", tags=["measuring"])
Name = Annotated[
    str, PathParameter(description="Name of the image set.", examples=["digits"]), AfterValidator(require_no_nul)
]
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["metadata", "content"],
                    "properties": {
                        "metadata": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": {"$ref": "#/components/schemas/ImageSetDeclaration"},
                        },
                        "content": {
                            "type": "string",
                            "format": "binary",
                            "description": "A .safetensors file with `images`, U8 (n, side, side, channels), and "
                            "`labels`, I64 (n,).",
                        },
                    },
                }
            }
        },
    }
}


@router.post(
    "",
    status_code=201,
    response_model=ImageSet,
    summary="Import an image set",
    openapi_extra=FORM,
    responses={
        200: {"model": ImageSet, "description": "It was there already."},
        **{status: {"model": Problem} for status in (409, 413, 415, 422)},
    },
)
async def add_image_set(request: Request, services: ServicesOf, actor: ActorOf, once: OnceOf) -> Response:
    """Labelled images of one task, cut into three parts by a fixed permutation. The same again is harmless."""
    async with receive_upload(request, services, name="content") as upload:
        answer, created = await run_in_threadpool(_create, services, actor, once, upload.metadata, upload.file)
    return Response(
        answer.model_dump_json(),
        status_code=201 if created else 200,
        media_type="application/json",
        headers={"Location": answer.links.self},
    )


@router.get("", response_model=ImageSetPage, summary="All image sets")
def list_all_image_sets(request: Request, session: ReadSession, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Image sets, in the order they came."""
    found, total = list_image_sets(session, after=decode_position(cursor), limit=limit)
    answer = ImageSetPage(
        items=[ImageSet.of(row, task) for row, task in found[:limit]],
        next=next_url(request, found[limit - 1][0].id) if len(found) > limit else None,
        total=total,
    )
    return make_body(answer.model_dump_json().encode()).respond(request)


@router.get("/{name}", response_model=ImageSet, summary="One image set")
def get_one_image_set(name: Name, request: Request, session: ReadSession) -> Response:
    """Its task, its parts and its geometry."""
    answer = ImageSet.of(*get_image_set(session, name))
    return make_body(answer.model_dump_json().encode()).respond(request)


@router.get(
    "/{name}/content",
    response_class=FileResponse,
    summary="The images and labels, as safetensors",
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def get_image_set_content(name: Name, request: Request, services: ServicesOf) -> Response:
    """The file as it was imported; ranges are supported."""
    with services.sessions.begin() as session:  # ended before gigabytes are fetched and hashed
        row, _ = get_image_set(session, name)
    entity_tag = f'"{row.content.hex()}"'
    if matches(request, entity_tag):
        return Response(status_code=304, headers={"ETag": entity_tag})
    return FileResponse(
        services.store.open_local(row.content),
        media_type="application/octet-stream",
        filename=f"{row.name}.safetensors",
        headers={"ETag": entity_tag},
    )


def _create(services: Services, actor: Actor, once: Once, metadata: bytes, file: Path) -> tuple[ImageSet, bool]:
    """The image set as it is shown, and whether it is new."""
    declaration = parse_metadata(ImageSetDeclaration, metadata)
    check_tensors(file)
    check_content(declaration, file)
    content = services.store.put_file(file, "image-set", services.sessions)
    with services.writing() as session:
        created = find_image_set(session, declaration.name) is None
        create_image_set(session, declaration, content=content, content_path=file, actor=actor)
        answer = ImageSet.of(*get_image_set(session, declaration.name))
        body = answer.model_dump_json().encode()
        once.done(session, 201 if created else 200, location=answer.links.self, body=body)
    return answer, created
