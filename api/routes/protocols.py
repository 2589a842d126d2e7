"""/protocols: how images are attacked."""

from fastapi import APIRouter, Request, Response

from api.access.actors import ActorOf
from api.cache import make_body
from api.idempotency.once import OnceOf
from api.paging import Cursor, Limit, decode_position, next_url
from api.schemas.base import Problem
from api.schemas.measuring import Attack, Attacks, Protocol, ProtocolPage
from api.services import ReadSession, ServicesOf
from registry.declarations import ProtocolDeclaration
from registry.protocols import create_protocol
from registry.reads.measuring import list_protocols
from sat_engine.attack_kinds import KINDS

router = APIRouter(prefix="/protocols", tags=["measuring"])


@router.post(
    "",
    status_code=201,
    response_model=Protocol,
    summary="Add a protocol",
    responses={status: {"model": Problem} for status in (409, 422)},
)
def add_protocol(declaration: ProtocolDeclaration, services: ServicesOf, actor: ActorOf, once: OnceOf) -> Response:
    """An attack with its parameters; what is left out is as published. The same again is harmless."""
    with services.writing() as session:
        answer = Protocol.of(create_protocol(session, declaration, actor=actor)).model_dump_json().encode()
        once.done(session, 201, body=answer)
    return Response(answer, status_code=201, media_type="application/json")


@router.get("/attacks", response_model=Attacks, summary="All attacks")
def list_attacks(request: Request) -> Response:
    """What a protocol's `attack` can be: what each can do, its options, and which cannot be run here, and why."""
    answer = Attacks(items=[Attack.of(name, kind) for name, kind in KINDS.items()])
    return make_body(answer.model_dump_json().encode()).respond(request)


@router.get("", response_model=ProtocolPage, summary="All protocols")
def list_all_protocols(request: Request, session: ReadSession, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Protocols, in the order they came."""
    found, total = list_protocols(session, after=decode_position(cursor), limit=limit)
    answer = ProtocolPage(
        items=[Protocol.of(row) for row in found[:limit]],
        next=next_url(request, found[limit - 1].id) if len(found) > limit else None,
        total=total,
    )
    return make_body(answer.model_dump_json().encode()).respond(request)
