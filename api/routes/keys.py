"""/keys: who may ask."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api.access.actors import ActorOf
from api.cache import make_body
from api.idempotency.once import OnceOf
from api.paging import Cursor, Limit, decode_position, next_url
from api.schemas.base import Problem
from api.schemas.keys import Key, KeyDeclaration, KeyPage, NewKey
from api.services import ReadSession, ServicesOf
from registry.declarations import Name
from registry.keys import create_key, list_keys, revoke_key

router = APIRouter(prefix="/keys", tags=["access"])
KeyName = Annotated[Name, Path(description="Name of the key.", examples=["ci"])]


@router.post(
    "",
    status_code=201,
    response_model=NewKey,
    summary="Make a key",
    responses={status: {"model": Problem} for status in (409, 422)},
)
def make_key(declaration: KeyDeclaration, services: ServicesOf, actor: ActorOf, once: OnceOf) -> Response:
    """The key is in this answer and nowhere else: only its sha256 is kept."""
    with services.writing() as session:
        row, secret = create_key(
            session,
            name=declaration.name,
            scope=declaration.scope,
            team=declaration.team,
            expires_at=declaration.expires_at,
            actor=actor,
        )
        # what is kept to answer the same request again must not hold the key
        once.done(session, 201, body=NewKey.made(row, None).model_dump_json().encode())
    services.keys.forget()
    answer = NewKey.made(row, secret).model_dump_json()
    return Response(answer, status_code=201, media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get("", response_model=KeyPage, summary="All keys")
def list_all_keys(request: Request, session: ReadSession, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Keys with whom they stand for, until when, and when they were last used."""
    found, total = list_keys(session, after=decode_position(cursor), limit=limit)
    answer = KeyPage(
        items=[Key.model_validate(row) for row in found[:limit]],
        next=next_url(request, found[limit - 1].id) if len(found) > limit else None,
        total=total,
    )
    return make_body(answer.model_dump_json().encode()).respond(request)


@router.delete(
    "/{name}",
    status_code=204,
    summary="Revoke a key",
    responses={status: {"model": Problem} for status in (404, 409)},
)
def remove_key(name: KeyName, services: ServicesOf, actor: ActorOf) -> None:
    """It opens nothing any more, within two seconds; the audit log goes on naming it."""
    with services.writing() as session:
        revoke_key(session, name, actor=actor)
    services.keys.forget()
