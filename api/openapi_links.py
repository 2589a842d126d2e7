"""Where answers lead: OpenAPI links, from a member of an answer to the parameters of another operation."""

from collections.abc import Mapping
from typing import Any

Links = Mapping[str, Any]


def _to(operation: str, **parameters: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": {name: f"$response.body#{at}" for name, at in parameters.items()}}


_OF_A_MODEL: Links = {
    "model": _to("get_model", model="/name"),
    "similar": _to("list_similar", model="/name"),
    "checkpoint": _to("get_checkpoint", model="/name"),
    "retry": _to("retry_failed_model", model="/name"),
    "delete": _to("remove_model", model="/name"),
}
# by operation and status
LINKS: Mapping[str, Mapping[str, Links]] = {
    "create_model": {"202": _OF_A_MODEL},
    "get_model": {"200": _OF_A_MODEL},
    "list_all_models": {"200": {"first": _to("get_model", model="/items/0/name")}},
    "list_similar": {
        "200": {
            "pair": _to("get_pair", a="/model", b="/items/0/model"),
            "neighbour": _to("get_model", model="/items/0/model"),
        }
    },
    "get_pair": {"200": {"a": _to("get_model", model="/a"), "b": _to("get_model", model="/b")}},
    "add_image_set": {
        status: {
            "image_set": _to("get_one_image_set", name="/name"),
            "content": _to("get_image_set_content", name="/name"),
        }
        for status in ("200", "201")
    },
    "list_all_image_sets": {"200": {"first": _to("get_one_image_set", name="/items/0/name")}},
    "add_comparison": {"201": {"change": _to("patch_comparison", image_set="/image_set", protocol="/protocol")}},
    "begin": {
        "201": {
            "state": _to("show", upload="/id"),
            "next_piece": _to("append", upload="/id"),
            "give_up": _to("give_up", upload="/id"),
        }
    },
    "add_webhook": {
        "201": {
            "webhook": _to("get_one_webhook", webhook="/id"),
            "deliveries": _to("list_all_deliveries", webhook="/id"),
            "delete": _to("remove_webhook", webhook="/id"),
        }
    },
    "list_all_workers": {"200": {"first": _to("get_worker", worker="/items/0/id")}},
    "list_all_pairs": {"200": {"pair": _to("get_pair", a="/items/0/a", b="/items/0/b")}},
    "make_key": {"201": {"revoke": _to("remove_key", name="/name")}},
}
