"""The deployed API conforms to docs/openapi.yaml, for requests that schemathesis generates with a fixed seed.

No request gets a 5xx, every error is a problem document, every response is documented, and nothing succeeds
without a credential unless the document says so.
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
PUBLIC_OPERATIONS = [
    name for name, operation in OPERATIONS.items() if operation.definition.raw.get("security") == []
]
SUCCEEDING_PUBLIC_OPERATIONS = {
    *("GET /health", "GET /openapi.json", "GET /docs"),
    *("OPTIONS /", "OPTIONS /{proxy}"),
}
ADMIN_OPERATIONS = [name for name in OPERATIONS if " /admin" in name]
REFUSED_OPERATIONS = {
    name for name, operation in OPERATIONS.items() if "refused" in operation.definition.raw["tags"]
}
# One operation of each area and method: tests/template checks that every route but the public ones has the
# authorizer, and the local AWS starts the authorizer again after each request that it rejects.
_PROTECTED_OPERATIONS = {
    (operation.definition.raw["tags"][0], operation.method): name
    for name, operation in OPERATIONS.items()
    if name not in PUBLIC_OPERATIONS
}
# For each operation and each mode (valid, invalid); the whole module takes about a minute.
MAX_EXAMPLES = 3
SEED = 20260131
# The test sets the credential itself. Waiting for the result would take too long.
_REMOVED_HEADERS = {"authorization", "prefer"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def _test_examples(
    name: str, test: Callable[[Request], None], *modes: GenerationMode, max_examples: int
) -> None:
    """Call `test` with requests of the operation, by default valid and then invalid ones.

    An operation for which no request can be invalid is tested with valid requests only.
    """
    for mode in modes or tuple(GenerationMode):
        options = settings(
            max_examples=max_examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )

        def test_example(case: Request) -> None:
            test(case)

        strategy = OPERATIONS[name].as_strategy(generation_mode=mode)
        try:
            given(case=strategy)(seed(SEED)(options(test_example)))()
        except Unsatisfiable:
            if mode is GenerationMode.POSITIVE:
                raise


def _send(case: Request, url: str, key: str | None) -> requests.Response:
    """Send the generated request with this key."""
    arguments = case.as_transport_kwargs(base_url=url)
    headers = {
        name: value for name, value in arguments["headers"].items() if name.lower() not in _REMOVED_HEADERS
    }
    arguments["headers"] = headers | ({"authorization": f"Bearer {key}"} if key else {})
    return requests.request(**arguments, timeout=60, allow_redirects=False)


def _check(case: Request, response: Any) -> None:
    case.validate_response(response, checks=CHECKS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_responses_to_a_tenant_conform_to_the_document(name: str, stack: Stack) -> None:
    def test(case: Request) -> None:
        response = _send(case, stack.api_url, stack.api_key)
        _check(case, response)
        assert name not in ADMIN_OPERATIONS or response.status_code >= 400
        assert name not in REFUSED_OPERATIONS or response.status_code == 405

    if name in REFUSED_OPERATIONS:  # The response does not depend on the request.
        _test_examples(name, test, GenerationMode.POSITIVE, max_examples=1)
    else:
        _test_examples(name, test, max_examples=MAX_EXAMPLES)


@pytest.mark.parametrize("name", [*PUBLIC_OPERATIONS, *_PROTECTED_OPERATIONS.values()])
def test_requests_without_credential_are_rejected(name: str, stack: Stack) -> None:
    def test(case: Request) -> None:
        response = _send(case, stack.api_url, None)
        _check(case, response)
        if name not in SUCCEEDING_PUBLIC_OPERATIONS:
            assert 400 <= response.status_code < 500
        if name not in PUBLIC_OPERATIONS:
            assert response.status_code in {401, 403, 404}, response.status_code

    # One example is enough: the request is rejected before its content is validated.
    _test_examples(name, test, GenerationMode.POSITIVE, max_examples=1)


@pytest.mark.parametrize("name", ADMIN_OPERATIONS)
def test_responses_to_an_operator_conform_to_the_document(name: str, stack: Stack) -> None:
    def test(case: Request) -> None:
        _check(case, _send(case, stack.api_url, stack.admin_key))

    try:
        _test_examples(name, test, max_examples=2)
    finally:
        if name.startswith("POST /admin/breaker"):
            reset: Any = OPERATIONS["POST /admin/breaker/reset"].Case(body={}, media_type="application/json")
            _send(reset, stack.api_url, stack.admin_key)
