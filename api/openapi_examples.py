"""What the OpenAPI document shows: an answer of each operation, and a value of each parameter.

The answers (openapi_examples.json) are a small registry's own, written by tests/api/test_examples.py, which holds them
to the document's schemas.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

JSON = "application/json"
# by name, whatever the operation; a cursor has none, for it belongs to one list
PARAMETERS: Mapping[str, Any] = {
    "Idempotency-Key": "0f6f2a56-7e0f-4f4e-9a3f-5d5f3a1f6c1e",
    "Upload-Offset": 0,
    "action": "model.delete",
    "actor": "ci",
    "after": "pairs:0",
    "architecture": "resnet18",
    "base": "CNN",
    "exclude": ["vit-b"],
    "family": "resnet",
    "flag": "at floor",
    "if-none-match": '"2c26b46b68ffc68ff99b453c1d304134"',
    "include": ["resnet-a"],
    "k": 3,
    "kind": "attack",
    "last-event-id": "2b1f0c6f0d8e4a11",
    "max_accuracy": 0.99,
    "max_gmacs": 20,
    "max_parameters": 100_000_000,
    "max_per_cluster": 2,
    "max_per_family": 2,
    "max_sat": 4,
    "min_accuracy": 0.5,
    "min_sat": 1,
    "obtained": "measured",
    "owner": "vision",
    "q": "resnet",
    "subject": "resnet-a",
    "tag": "baseline",
    "webhook": 1,
    "worker": 1,
}
STATES = {"list_all_models": "ready", "list_all_jobs": "queued"}
TEXTS: Mapping[str, Mapping[str, Any]] = {
    "get_card": {"text/markdown": "# resnet-a\n", "text/html": "<h1>resnet-a</h1>\n"},
    "get_matrix": {"text/csv": ",resnet-a,resnet-b\r\nresnet-a,4.59,4.1\r\nresnet-b,4.1,4.58\r\n"},
    "get_metrics": {"text/plain": "sat_models 6\n"},
    "follow_model": {"text/event-stream": {"event": "end", "id": "2b1f0c6f0d8e4a11", "data": '{"reason": "measured"}'}},
    "follow_registry": {
        "text/event-stream": {"event": "progress", "id": "2b1f0c6f0d8e4a11", "data": '{"models": {"ready": 6}}'}
    },
}


def add_examples(operation: dict[str, Any]) -> None:
    """Give the operation's good answers and its parameters examples where they have none of their own."""
    name = operation["operationId"]
    for status, response in operation["responses"].items():
        for media_type, content in response.get("content", {}).items():
            if media_type == JSON and status in answers().get(name, {}):
                content["example"] = answers()[name][status]
            elif media_type in TEXTS.get(name, {}):
                content["example"] = TEXTS[name][media_type]
    for parameter in operation.get("parameters", ()):
        shown = {"example", "examples"} & {*parameter, *parameter["schema"]}
        value = STATES.get(name) if parameter["name"] == "state" else PARAMETERS.get(parameter["name"])
        if not shown and value is not None:
            parameter["example"] = value


@cache
def answers() -> Mapping[str, Mapping[str, Any]]:
    """Bodies of good JSON answers, by operation and status."""
    text = (files("api") / "openapi_examples.json").read_text(encoding="utf-8")
    found: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return found
