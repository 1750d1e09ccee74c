"""The deployed API against docs/openapi.yaml, by requests that schemathesis makes up, always the same ones.

Whoever asks, and whatever is asked: no 5xx, nothing but problem+json for a refusal, replies as documented,
and no success without a credential but where the document says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemathesis import APIOperation, Case

    from tools.local.stack import Stack

    type Request = Case[Any]

DOCUMENT: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "docs/openapi.yaml").read_text(encoding="utf-8")
)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS: dict[str, APIOperation[Any, Any, Any, Any]] = {
    f"{operation.method.upper()} {operation.path}": operation
    for operation in (cast(Any, found).ok() for found in SCHEMA.get_all_operations())
}
OPEN = {
    name
    for name, operation in OPERATIONS.items()
    if DOCUMENT["paths"][operation.path][operation.method].get("security") == []
}
OPEN_SUCCESSES = {"GET /health", "OPTIONS /", "OPTIONS /{proxy}"}
ADMIN = [name for name in OPERATIONS if " /admin" in name]
# The gateway has one method for all that lies below these, so one of each is asked without a credential.
_BELOW = ("/admin/", "/v1/webhooks/")
GUARDED = list(
    {
        next((f"{name.split()[0]} {below}" for below in _BELOW if f" {below}" in name), name): name
        for name in OPERATIONS
    }.values()
)
# Of each operation, valid and invalid requests alike; the whole file takes about a minute.
EXAMPLES = 3
SEED = 20260131
_OURS = {"authorization", "prefer"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def each_request(name: str, look: Callable[[Request], None], *modes: GenerationMode, examples: int) -> None:
    """Calls `look` with requests of the operation, valid ones and then broken ones, or of the modes named.

    Where nothing about a request can be wrong, there are no broken ones.
    """
    for mode in modes or tuple(GenerationMode):
        options = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )

        def one(case: Request) -> None:
            look(case)

        strategy = OPERATIONS[name].as_strategy(generation_mode=mode)
        try:
            given(case=strategy)(seed(SEED)(options(one)))()
        except Unsatisfiable:
            if mode is GenerationMode.POSITIVE:
                raise


def send(case: Request, url: str, key: str | None) -> requests.Response:
    """The request as made up but for the credential, and for `Prefer`: a hold costs the run its time."""
    made = case.as_transport_kwargs(base_url=url)
    kept = {name: value for name, value in made["headers"].items() if name.lower() not in _OURS}
    made["headers"] = kept | ({"authorization": f"Bearer {key}"} if key else {})
    return requests.request(**made, timeout=60, allow_redirects=False)


def conforms(case: Request, response: Any) -> None:
    case.validate_response(response, checks=CHECKS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_tenant_gets_documented_answers(name: str, stack: Stack) -> None:
    def look(case: Request) -> None:
        response = send(case, stack.api_url, stack.api_key)
        conforms(case, response)
        assert name not in ADMIN or response.status_code >= 400

    each_request(name, look, examples=EXAMPLES)


@pytest.mark.parametrize("name", GUARDED)
def test_without_a_credential_nothing_succeeds(name: str, stack: Stack) -> None:
    def look(case: Request) -> None:
        response = send(case, stack.api_url, None)
        conforms(case, response)
        if name not in OPEN_SUCCESSES:
            assert 400 <= response.status_code < 500
        if name not in OPEN:
            assert response.status_code in {401, 403, 404}, response.status_code

    # One is enough: the refusal comes before the request is looked at.
    each_request(name, look, GenerationMode.POSITIVE, examples=1)


@pytest.mark.parametrize("name", ADMIN)
def test_an_operator_gets_documented_answers(name: str, stack: Stack) -> None:
    def look(case: Request) -> None:
        conforms(case, send(case, stack.api_url, stack.admin_key))

    try:
        each_request(name, look, examples=2)
    finally:
        if name.startswith("POST /admin/breaker"):
            reset: Any = OPERATIONS["POST /admin/breaker/reset"].Case(body={}, media_type="application/json")
            send(reset, stack.api_url, stack.admin_key)
