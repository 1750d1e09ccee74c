"""The models of AWS services in the layer are those of botocore, and have every operation that is called."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.config import Config

from replicate_proxy.aws.clients import get_client
from tests.support.handlers import clear_clients
from tools.local.paths import ROOT
from tools.service_models import FOLDER, OPERATIONS, build_files

if TYPE_CHECKING:
    from collections.abc import Iterator

REGIONS = ("us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1")
_CODE = ROOT / "layers/common/python/replicate_proxy"


@pytest.fixture
def region(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", request.param)
    clear_clients()
    yield request.param
    clear_clients()


@cache
def list_method_names() -> dict[str, set[str]]:
    """Return the services that have an operation, by the name of its method."""
    session = botocore.session.Session()
    services: dict[str, set[str]] = {}
    for service in OPERATIONS:
        for operation in session.get_service_model(service).operation_names:
            services.setdefault(xform_name(operation), set()).add(service)
    return services


def find_called_methods() -> set[str]:
    """Return the names of AWS operations that the adapters and builders call, or paginate."""
    names: set[str] = set()
    for path in (*(_CODE / "aws").glob("*.py"), *(_CODE / "bootstrap").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="get_paginator"), args=[ast.Constant(value=str(name))]):
                    names.add(name)
                case ast.Call(func=ast.Attribute(attr=name)):
                    names.add(name)
    return names & list_method_names().keys()


def test_files_are_what_the_tool_makes_of_the_installed_botocore() -> None:
    stored = {
        path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8")
        for path in FOLDER.rglob("*.json")
    }

    assert stored == build_files(), "run .venv/bin/python -m tools.service_models"


def test_every_called_operation_is_in_its_model() -> None:
    kept = {xform_name(name) for operations in OPERATIONS.values() for name in operations}
    called = find_called_methods()

    assert {"put_item", "get_usage_plans", "get_secret_value"} <= called
    assert called <= kept


@pytest.mark.parametrize("region", REGIONS, indirect=True)
@pytest.mark.parametrize("service", OPERATIONS)
def test_client_is_that_of_the_whole_model(service: Any, region: str) -> None:
    whole = botocore.session.Session().create_client(
        service, config=Config(retries={"mode": "standard", "total_max_attempts": 3})
    )

    client = get_client(service)

    assert client.meta.endpoint_url == whole.meta.endpoint_url
    assert client.meta.service_model.signature_version == whole.meta.service_model.signature_version
    assert client.meta.service_model.resolved_protocol == whole.meta.service_model.resolved_protocol
    for name in OPERATIONS[service]:
        operation = client.meta.service_model.operation_model(name)
        whole_operation = whole.meta.service_model.operation_model(name)
        assert describe(operation.input_shape) == describe(whole_operation.input_shape)
        assert describe(operation.output_shape) == describe(whole_operation.output_shape)


def describe(shape: Any, seen: tuple[str, ...] = ()) -> Any:
    """Return type and members of a shape; one that contains itself is named where it does so."""
    if shape is None or shape.name in seen:
        return shape and shape.name
    seen = (*seen, shape.name)
    members = getattr(shape, "members", {})
    parts = {
        "member": getattr(shape, "member", None),
        "key": getattr(shape, "key", None),
        "value": getattr(shape, "value", None),
        **members,
    }
    described = {name: describe(part, seen) for name, part in parts.items() if part is not None}
    return shape.type_name, dict(shape.serialization), described
