"""Who sent a request, as the access layer found out, for the routes that pass it on to use cases."""

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from registry.access import Actor

REQUEST_ID = "sat.request_id"  # entered by the outermost layer
_ACTOR = "sat.actor"


def set_actor(scope: Scope, actor: Actor) -> None:
    """Note who sent the request."""
    scope[_ACTOR] = actor


def actor_of(scope: Scope) -> Actor:
    """Who sent the request; a KeyError (and so a 500) for one that went past the access layer."""
    actor: Actor = scope[_ACTOR]
    return replace(actor, request_id=scope.get(REQUEST_ID))


async def get_actor(request: Request) -> Actor:
    """Who sent the request."""
    return actor_of(request.scope)


ActorOf = Annotated[Actor, Depends(get_actor)]
