"""/models: registering, looking, fetching, deleting."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import AfterValidator

from api.access.actors import ActorOf
from api.cache import make_body, matches
from api.idempotency.once import Once, OnceOf
from api.lookup import accepted, body_of, detail, find, of_task, select
from api.paging import Cursor, Limit, next_url, page_of
from api.reads import ImageSetParameter, ProtocolParameter
from api.routes.similar import Reference
from api.schemas.base import Problem
from api.schemas.models import ModelDetail, ModelPage, ModelSummary, SortKey
from api.services import Services, ServicesOf
from api.uploads import check_checkpoint, copied_source, parse_metadata, receive_upload
from registry.access import Actor
from registry.declarations import ModelDeclaration, require_no_nul
from registry.errors import InvalidError, NotReadyError, UnsupportedError
from registry.models import check_declaration, register_model, retry_model
from registry.reads.models import SORT_KEYS, ModelFilter, checkpoint_of, find_models, summarise
from registry.reads.search import search
from registry.reads.zoo import Model, read_deleted
from registry.tables import ModelState
from registry.uploads import discard, get_upload, require_complete, settle_upload, stored_upload
from sat_engine.io.formats import CheckpointFormat, format_of

router = APIRouter(prefix="/models", tags=["models"])
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["metadata", "checkpoint"],
                    "properties": {
                        "metadata": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": {"$ref": "#/components/schemas/ModelDeclaration"},
                        },
                        "checkpoint": {
                            "type": "string",
                            "format": "binary",
                            "description": "A .safetensors or .pth file.",
                        },
                    },
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/ModelDeclaration"}},
        },
    }
}


async def model_filter(
    *,
    state: Annotated[ModelState | None, Query(description="received, ready, suspect, archived or failed.")] = None,
    tag: Annotated[str | None, Query(description="One of its tags.")] = None,
    family: Annotated[str | None, Query(description="timm's lineage.")] = None,
    base: Annotated[str | None, Query(description="The paper's base architecture.")] = None,
    architecture: Annotated[str | None, Query(description="The catalogue's name.")] = None,
    owner: Annotated[str | None, Query(description="The team that registered it.")] = None,
    min_accuracy: Annotated[float | None, Query(ge=0, le=1, description="Evaluated, and at least this.")] = None,
    max_accuracy: Annotated[float | None, Query(ge=0, le=1, description="Evaluated, and at most this.")] = None,
    q: Annotated[
        str | None,
        Query(
            max_length=500,
            description="Words, at most 16, that must all occur: parts of names, tags and architectures, beginnings of "
            "words of descriptions and cards.",
        ),
        AfterValidator(lambda text: text and require_no_nul(text)),
    ] = None,
) -> ModelFilter:
    """What is asked for."""
    return ModelFilter(
        state=state,
        tag=tag,
        family=family,
        base=base,
        architecture=architecture,
        owner=owner,
        min_accuracy=min_accuracy,
        max_accuracy=max_accuracy,
        q=q,
    )


@router.post(
    "",
    status_code=202,
    response_model=ModelDetail,
    summary="Register a model",
    openapi_extra=FORM,
    responses={status: {"model": Problem} for status in (404, 409, 413, 415, 422)},
)
async def create_model(request: Request, services: ServicesOf, actor: ActorOf, once: OnceOf) -> Response:
    """Register a checkpoint (multipart form), or a file of the operator's or pretrained weights (JSON).

    The same again is harmless.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        name = await run_in_threadpool(_register_named, services, actor, once, await request.body())
    elif content_type == "multipart/form-data":
        async with receive_upload(request, services, name="checkpoint") as upload:
            name = await run_in_threadpool(_register_upload, services, actor, once, upload.metadata, upload.file)
    else:
        raise UnsupportedError(
            "send a multipart form with the fields `metadata` (JSON) and `checkpoint` (.safetensors or .pth), or "
            f"JSON with a `pretrained` tag or a `source`; not {content_type or 'an untyped body'}."
        )
    return await run_in_threadpool(accepted, services, name)


@router.get("", response_model=ModelPage, summary="All models")
def list_all_models(
    *,
    request: Request,
    services: ServicesOf,
    wanted: Annotated[ModelFilter, Depends(model_filter)],
    sort: Annotated[
        SortKey, Query(description="A minus sign: the largest first. relevance: what `q` is about most first.")
    ] = "name",
    deleted: Annotated[bool, Query(description="Those that can be restored, instead of those that are there.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    image_set: ImageSetParameter = None,
    protocol: ProtocolParameter = None,
) -> Response:
    """Models with their state, accuracy and progress."""
    chosen = select(services, image_set, protocol)
    if sort == "relevance" and not (wanted.q or "").split():
        raise InvalidError("`sort=relevance` orders what `q` finds: send the words in `q`, or sort by something else.")
    models = _read_deleted(services) if deleted else services.watch.view().zoo.models
    found = find_models(
        models,
        wanted,
        lambda task_id: of_task(services, chosen, task_id),
        relevance=_search(services, models, wanted.q),
    )
    value = SORT_KEYS[sort.removeprefix("-")]
    page, position = page_of(
        found,
        lambda each: [value(each), each.model.name, each.model.id],
        cursor=cursor,
        limit=limit,
        descending=sort.startswith("-"),
    )
    answer = ModelPage(
        items=[ModelSummary.of(summarise(each.model, each.snapshot)) for each in page],
        next=next_url(request, position) if position else None,
        total=len(found),
    )
    return make_body(answer.model_dump_json().encode()).respond(request)


@router.get("/{model}", response_model=ModelDetail, summary="One model")
def get_model(
    model: Reference,
    request: Request,
    services: ServicesOf,
    image_set: ImageSetParameter = None,
    protocol: ProtocolParameter = None,
) -> Response:
    """State and progress, components, accuracies, self-fooling, noise rate, and what to mind."""
    return body_of(detail(services, model, image_set, protocol)).respond(request)


@router.get(
    "/{model}/checkpoint",
    response_class=FileResponse,
    summary="The weights, as safetensors",
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def get_checkpoint(model: Reference, request: Request, services: ServicesOf, actor: ActorOf) -> Response:
    """The weights as they are measured; ranges are supported."""
    found = find(services, model)
    with services.sessions.begin() as session:
        sha256 = checkpoint_of(session, found, actor=actor)
    if sha256 is None:
        raise NotReadyError(f"the weights of {found.name} are not fetched yet: GET /models/{found.name} tells when.")
    entity_tag = f'"{found.network.digest if found.network else sha256.hex()}"'
    if matches(request, entity_tag):
        return Response(status_code=304, headers={"ETag": entity_tag})
    path = services.store.open_local(sha256)
    if found.network is None and format_of(path) is CheckpointFormat.PYTORCH:
        raise NotReadyError(f"the weights of {found.name} are not converted yet: GET /models/{found.name} tells when.")
    return FileResponse(
        path,
        media_type="application/octet-stream",
        filename=f"{found.name}.safetensors",
        headers={"ETag": entity_tag},
    )


@router.post("/{model}/retry", status_code=202, response_model=ModelDetail, summary="Try a failed model again")
def retry_failed_model(model: Reference, services: ServicesOf, actor: ActorOf, once: OnceOf) -> Response:
    """Prepare it again and measure what is missing, when the cause of the failure is gone."""
    with services.writing() as session:
        name = retry_model(session, model, actor=actor)
        once.done(session, 202, location=f"/models/{name}")
    return accepted(services, name)


def _register_named(services: Services, actor: Actor, once: Once, text: bytes) -> str:
    """Register what the body names: a file of the operator's, or pretrained weights."""
    declaration = parse_metadata(ModelDeclaration, text)
    if declaration.source is not None and declaration.pretrained is None:
        _check(services, declaration)
        with copied_source(services, declaration.source) as file:
            return _register_file(services, actor, once, declaration, file)
    if declaration.upload is not None and declaration.pretrained is None:
        return _register_pieces(services, actor, once, declaration, declaration.upload)
    with services.writing() as session:
        name = register_model(session, declaration, checkpoint=None, actor=actor)
        once.done(session, 202, location=f"/models/{name}")
    return name


def _register_upload(services: Services, actor: Actor, once: Once, metadata: bytes, file: Path) -> str:
    declaration = parse_metadata(ModelDeclaration, metadata)
    if declaration.source is not None or declaration.upload is not None:
        raise InvalidError("send a checkpoint, or name a `source` or an `upload`: one of them.")
    return _register_file(services, actor, once, declaration, file)


def _register_pieces(services: Services, actor: Actor, once: Once, declaration: ModelDeclaration, upload: str) -> str:
    """Register a file that came in pieces; the same again is harmless."""
    with services.sessions() as session:
        row = get_upload(session, upload, actor=actor)
    _check(services, declaration)
    artifact = stored_upload(row)
    if artifact is None:
        file = require_complete(services.store, row)
        check_checkpoint(file)
        artifact = services.store.put_file(file, "checkpoint", services.sessions)
    with services.writing() as session:
        name = register_model(session, declaration, checkpoint=artifact, actor=actor)
        settle_upload(session, row, artifact)
        once.done(session, 202, location=f"/models/{name}")
    discard(services.store, row)
    return name


def _register_file(services: Services, actor: Actor, once: Once, declaration: ModelDeclaration, file: Path) -> str:
    check_checkpoint(file)
    _check(services, declaration)
    artifact = services.store.put_file(file, "checkpoint", services.sessions)
    with services.writing() as session:
        name = register_model(session, declaration, checkpoint=artifact, actor=actor)
        once.done(session, 202, location=f"/models/{name}")
    return name


def _check(services: Services, declaration: ModelDeclaration) -> None:
    with services.sessions() as session:  # never committed: a refused upload leaves nothing in the store
        check_declaration(session, declaration)


def _read_deleted(services: Services) -> tuple[Model, ...]:
    with services.sessions.begin() as session:
        return read_deleted(session.connection())


def _search(services: Services, models: tuple[Model, ...], q: str | None) -> Mapping[int, float] | None:
    if q is None or not q.split():
        return None
    with services.sessions.begin() as session:
        return search(session, models, q)
