"""/session: a page's stand-in for a key."""

from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from api.access.actors import ActorOf
from api.access.credentials import COOKIE
from api.access.signing_in import own_path, sign_in_page
from api.cache import make_body
from api.problems import MEDIA_TYPE, problem
from api.schemas.base import Problem
from api.schemas.keys import Identity, SignIn
from api.services import ServicesOf
from api.uploads import parse_metadata
from registry.errors import InvalidError

router = APIRouter(prefix="/session", tags=["access"])
HOURS = 12
FORM = "application/x-www-form-urlencoded"
WRONG = "this key is unknown, expired or revoked."
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"$ref": "#/components/schemas/SignIn"}} for kind in ("application/json", FORM)},
    }
}


@router.get("", response_model=Identity, summary="Whom this key stands for")
async def get_session(request: Request, actor: ActorOf) -> Response:
    """The key's name, team and scope."""
    return make_body(Identity.of(actor).model_dump_json().encode()).respond(request)


@router.post(
    "",
    status_code=204,
    response_model=None,
    summary="Exchange a key for a cookie",
    openapi_extra=BODY,
    responses={
        303: {"description": "To `next`, after a form."},
        401: {
            "description": "The key is none.",
            "content": {
                MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}},
                "text/html": {"schema": {"type": "string", "description": "The page again, after a form."}},
            },
        },
        422: {"model": Problem},
    },
)
async def sign_in(request: Request, services: ServicesOf) -> Response:
    """For pages: the cookie goes with every request of theirs, and no script can read it. It lasts twelve hours."""
    by_form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM
    asked = _from_form(await request.body()) if by_form else parse_metadata(SignIn, await request.body())
    actor = await services.keys.find(asked.key.encode())
    if actor is None:
        challenge = {"WWW-Authenticate": 'Bearer realm="sat-registry", error="invalid_token"'}
        if by_form:
            return sign_in_page(request.scope, challenge, WRONG.capitalize(), then=own_path(asked.next))
        return problem(401, "Unauthorized", WRONG, headers=challenge)
    answer: Response = RedirectResponse(own_path(asked.next), 303) if by_form else Response(status_code=204)
    # The key itself: it ends with the key, and whoever reads the database cannot make one from the hash that is there.
    # HTTPS ends at a proxy, which says so (X-Forwarded-Proto) where uvicorn trusts it.
    answer.set_cookie(
        COOKIE,
        asked.key,
        max_age=HOURS * 3600,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


@router.delete("", status_code=204, response_model=None, summary="Sign out")
async def sign_out() -> Response:
    """Take the cookie back."""
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def _from_form(body: bytes) -> SignIn:
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=10)
        return SignIn(key=fields["key"][0].strip(), next=fields.get("next", ["/docs"])[0])
    except (KeyError, ValueError) as error:
        raise InvalidError("the form needs the field `key`.") from error
