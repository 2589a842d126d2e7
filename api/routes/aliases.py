"""/aliases: further names of models."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api.access.actors import ActorOf
from api.cache import Body, make_body
from api.conditions import if_match, seen_states, stated_body
from api.paging import Cursor, Limit, decode_cursor, next_url
from api.schemas.base import Problem
from api.schemas.naming import Alias, AliasPage
from api.services import ReadSession, ServicesOf
from registry.aliases import Alias as AliasRead
from registry.aliases import AliasDeclaration, delete_alias, get_alias, list_aliases, set_alias
from registry.declarations import Name

router = APIRouter(prefix="/aliases", tags=["models"])
AliasName = Annotated[Name, Path(description="The alias.", examples=["champion"])]


@router.get("", response_model=AliasPage, summary="All aliases")
def list_all_aliases(request: Request, session: ReadSession, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Aliases by name, each with the model that it names."""
    after = decode_cursor(cursor, str) or ""
    found, total = list_aliases(session, after=after, limit=limit)
    page = found[:limit]
    answer = AliasPage(
        items=[Alias.model_validate(each) for each in page],
        next=next_url(request, page[-1].alias) if len(found) > limit else None,
        total=total,
    )
    return make_body(answer.model_dump_json().encode()).respond(request)


@router.get("/{alias}", response_model=Alias, summary="One alias", responses={404: {"model": Problem}})
def get_one_alias(alias: AliasName, request: Request, session: ReadSession) -> Response:
    """The model that it names."""
    return _body_of(get_alias(session, alias)).respond(request)


@router.put(
    "/{alias}",
    response_model=Alias,
    summary="Let an alias name a model",
    openapi_extra=if_match(),
    responses={201: {"model": Alias}, **{status: {"model": Problem} for status in (403, 404, 409, 412, 422)}},
)
def put_alias(
    alias: AliasName, body: AliasDeclaration, request: Request, services: ServicesOf, actor: ActorOf
) -> Response:
    """Make or move it; 201 when it is new. The same again is harmless; a protected one is an administrator's."""
    seen = seen_states(request)
    with services.writing() as session:
        found, made = set_alias(session, alias, body, actor=actor, seen=seen)
    answer = _body_of(found)
    headers = {"ETag": answer.tag} | ({"Location": f"/aliases/{alias}"} if made else {})
    return Response(answer.content, status_code=201 if made else 200, media_type=answer.media_type, headers=headers)


@router.delete(
    "/{alias}",
    status_code=204,
    summary="Delete an alias",
    openapi_extra=if_match(),
    responses={status: {"model": Problem} for status in (403, 404, 412)},
)
def remove_alias(alias: AliasName, request: Request, services: ServicesOf, actor: ActorOf) -> None:
    """Free the name; the model stays."""
    seen = seen_states(request)
    with services.writing() as session:
        delete_alias(session, alias, actor=actor, seen=seen)


def _body_of(found: AliasRead) -> Body:
    return stated_body(found.state, Alias.model_validate(found).model_dump_json().encode())
