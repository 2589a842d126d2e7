"""Things that requests can be about, made while schemathesis runs: what one needs cannot be made up from a schema."""

import os
from typing import Any

import httpx
from schemathesis import Case

KEY = "SAT_SCHEMATHESIS_KEY"  # names the key that may do everything
UPLOAD_BYTES = 1 << 20


def make_real(case: Case) -> None:
    """Have a valid case about an upload be about one that is there, and one that signs in use a key that is valid."""
    if case.operation.path == "/uploads/{upload}":
        case.path_parameters["upload"] = _begin_upload(case)
        if case.method == "PATCH":
            case.headers["Upload-Offset"] = "0"
    elif case.operation.label == "POST /session" and case.media_type == "application/json":
        case.body = {"key": os.environ[KEY]}


def _begin_upload(case: Case) -> Any:
    url = f"{str(case.operation.base_url).rstrip('/')}/uploads"
    headers = {"Authorization": f"Bearer {os.environ[KEY]}"}
    begun = httpx.post(url, json={"bytes": UPLOAD_BYTES}, headers=headers, trust_env=False)
    return begun.raise_for_status().json()["id"]
