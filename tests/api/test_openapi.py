"""The OpenAPI document is whole: errors, examples, links, stable names. Errors are as it says."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from api.openapi import PROBLEM, operations
from api.problems import MEDIA_TYPE
from tests.api.conftest import Api
from tests.api.world import World

MEMBERS = {"type", "title", "status", "detail", "request_id"}
# generated clients call these: a change of name breaks them
STABLE = {
    "create_model", "list_all_models", "get_model", "remove_model", "retry_failed_model", "get_checkpoint",
    "list_similar", "get_pair", "get_matrix", "get_clusters", "get_agreement", "recommend_ensemble",
    "recommend_teacher", "add_image_set", "add_protocol", "add_comparison", "patch_comparison", "list_all_jobs",
    "list_all_workers", "get_health", "get_readiness", "make_key", "remove_key",
}  # fmt: skip


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    """The document as it is served."""
    found: dict[str, Any] = api.get("/openapi.json").json()
    return found


def statuses(operation: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    for status, response in operation["responses"].items():
        yield int(status), response


def test_every_error_of_every_operation_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    count = 0
    for path, method, operation in operations(document):
        codes = {status for status, _ in statuses(operation)}
        assert {422, 500} <= codes, (method, path)
        assert ("{" not in path) or 404 in codes, (method, path)
        assert operation["security"] == [] or {401, 403} <= codes, (method, path)
        assert "requestBody" not in operation or {408, 413, 415} <= codes, (method, path)
        for status, response in statuses(operation):
            if status < 400:
                continue
            shared = response.get("$ref", "").rpartition("/")[2]
            content = document["components"]["responses"][shared]["content"] if shared else response["content"]
            assert content[MEDIA_TYPE]["schema"] == {"$ref": PROBLEM}, (method, path, status)
            count += 1
    assert count > 250
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_operation_ids_are_stable_and_each_says_which_scope_it_needs(document: dict[str, Any]) -> None:
    found = {operation["operationId"]: operation for _, _, operation in operations(document)}
    assert set(found) >= STABLE
    for name, operation in found.items():
        assert (operation["security"] == []) == ("x-scope" not in operation), name


def test_links_lead_to_operations_with_these_parameters(document: dict[str, Any]) -> None:
    parameters = {
        operation["operationId"]: {each["name"] for each in operation.get("parameters", ())}
        for _, _, operation in operations(document)
    }
    links = [
        link
        for _, _, operation in operations(document)
        for _, response in statuses(operation)
        for link in response.get("links", {}).values()
    ]
    assert len(links) > 15
    for link in links:
        assert set(link["parameters"]) <= parameters[link["operationId"]], link


def test_what_must_be_given_has_an_example(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for path, method, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            if parameter["required"] and parameter["schema"].get("type") == "string":
                assert "examples" in parameter["schema"] or "example" in parameter or "examples" in parameter, (
                    method, path, parameter["name"],
                )  # fmt: skip
        for content in operation.get("requestBody", {}).get("content", {}).values():
            name = content["schema"].get("$ref", "").rpartition("/")[2]
            schema = schemas.get(name, content["schema"])
            assert "binary" in str(schema) or _has_example(schema), (method, path, name)


def _has_example(schema: dict[str, Any]) -> bool:
    if "examples" in schema or "example" in schema:
        return True
    # that of a part is shown in its place
    return "$ref" in str(schema) or any(
        "examples" in each or "default" in each for each in schema["properties"].values()
    )


def fault(api: Api) -> None:
    app = api.app
    assert isinstance(app, FastAPI)

    @app.get("/fault")
    def broken() -> None:
        raise RuntimeError("a secret of the inside")


ERRORS: dict[int, Callable[[Api], Any]] = {
    404: lambda api: api.get("/nowhere"),
    405: lambda api: api.put("/models"),
    413: lambda api: api.post("/protocols", content=b" " * (5 * 2**20)),
    415: lambda api: api.post("/models", content=b"x", headers={"Content-Type": "text/plain"}),
    422: lambda api: api.post("/protocols", json={"name": "../x"}),
    500: lambda api: (fault(api), api.get("/fault"))[1],
}


@pytest.mark.parametrize("status", ERRORS)
def test_errors_are_problem_documents_with_the_request_s_id(api: Api, world: World, status: int) -> None:
    answer = ERRORS[status](api)
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    problem = answer.json()
    assert set(problem) >= MEMBERS
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text


def test_every_route_refuses_every_other_method_and_names_those_that_it_takes(
    api: Api, document: dict[str, Any]
) -> None:
    for path, item in document["paths"].items():
        takes = {method.upper() for method in item if method in {"get", "put", "post", "delete", "patch"}}
        for method in {"GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"} - takes:
            answer = api.request(method, re.sub(r"\{[^}]*\}", "1", path))
            assert answer.status_code == 405, (method, path, answer.text)
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
            assert {each.strip() for each in answer.headers["allow"].split(",")} - {"HEAD"} == takes, path


def test_a_name_that_is_nowhere_is_a_problem_on_every_route_with_a_name(api: Api, document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        if "{" not in path or "requestBody" in operation:
            continue
        answer = api.request(method.upper(), re.sub(r"\{[^}]*\}", "nobody", path), headers={"If-Match": "*"})
        assert answer.status_code in {404, 409, 422}, (method, path, answer.text)
        assert set(answer.json()) >= MEMBERS
