"""The adapters of API Gateway and of SSM parameters, on moto."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.aws.api_gateway import ApiGateway
from replicate_proxy.aws.secrets import SsmParameter
from replicate_proxy.errors import ConfigurationError, PermanentError, RetryableError
from replicate_proxy.operations.ports import Stage
from tests.support.access import deploy_api, set_aws_environment


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    set_aws_environment(monkeypatch)
    with mock_aws():
        yield boto3.client("apigateway")


@pytest.fixture
def stage(client: Any) -> Stage:
    return Stage(deploy_api(client), "prod")


def test_keys_with_same_limits_share_usage_plan(client: Any, stage: Stage) -> None:
    gateway = ApiGateway(client, prefix="stack")
    first = gateway.create_key("acme-1", UsageLimits(10, 20, 1000), stage)
    second = gateway.create_key("acme-2", UsageLimits(10, 20, 1000), stage)
    gateway.create_key("acme-3", UsageLimits(0.5, 1), stage)
    plans = {plan["name"]: plan for plan in client.get_usage_plans()["items"]}
    assert set(plans) == {"stack-10rps-20burst-1000quota", "stack-0.5rps-1burst-noquota"}
    shared = plans["stack-10rps-20burst-1000quota"]
    assert shared["throttle"] == {"rateLimit": 10, "burstLimit": 20}
    assert (shared["quota"]["limit"], shared["quota"]["period"]) == (1000, "MONTH")
    assert shared["apiStages"] == [{"apiId": stage.api_id, "stage": "prod"}]
    plan_keys = client.get_usage_plan_keys(usagePlanId=shared["id"])["items"]
    assert {key["id"] for key in plan_keys} == {first.id, second.id}
    assert first.value != second.value
    assert client.get_api_key(apiKey=first.id, includeValue=True)["value"] == first.value


def test_delete_key_can_be_repeated(client: Any, stage: Stage) -> None:
    gateway = ApiGateway(client, prefix="stack")
    usage_key = gateway.create_key("acme-1", UsageLimits(10, 20), stage)
    for _ in range(2):
        gateway.delete_key(usage_key.id)
    assert client.get_api_keys()["items"] == []


def test_create_key_adds_stage_of_redeployed_api_to_plan(client: Any, stage: Stage) -> None:
    gateway = ApiGateway(client, prefix="stack")
    gateway.create_key("acme-1", UsageLimits(10, 20), stage)
    new_stage = Stage(deploy_api(client), "prod")
    gateway.create_key("acme-2", UsageLimits(10, 20), new_stage)
    (plan,) = client.get_usage_plans()["items"]
    assert {entry["apiId"] for entry in plan["apiStages"]} == {stage.api_id, new_stage.api_id}


def test_deployments_have_separate_plans(client: Any, stage: Stage) -> None:
    ApiGateway(client, prefix="one").create_key("a", UsageLimits(1, 1), stage)
    ApiGateway(client, prefix="two").create_key("a", UsageLimits(1, 1), stage)
    assert len(client.get_usage_plans()["items"]) == 2


class FailingApiGateway:
    """Raises a client error from every call."""

    def __init__(self, code: str) -> None:
        self._error = ClientError({"Error": {"Code": code}}, "x")

    def get_paginator(self, _: str) -> Any:
        raise self._error

    def flush_stage_authorizers_cache(self, **_: Any) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("code", "expected_class"),
    [("TooManyRequestsException", RetryableError), ("LimitExceededException", PermanentError)],
)
def test_create_key_translates_aws_errors(code: str, expected_class: type[Exception]) -> None:
    gateway = ApiGateway(FailingApiGateway(code), prefix="x")
    with pytest.raises(expected_class):
        gateway.create_key("a", UsageLimits(1, 1), Stage("a", "prod"))


def test_flush_returns_false_when_it_fails() -> None:
    gateway = ApiGateway(FailingApiGateway("AccessDeniedException"), prefix="x")
    assert gateway.flush_authorizer_cache(Stage("a", "prod")) is False


def test_flush_flushes_cache_of_stage() -> None:
    calls = []

    class Client:
        def flush_stage_authorizers_cache(self, **arguments: Any) -> None:
            calls.append(arguments)

    assert ApiGateway(Client(), prefix="x").flush_authorizer_cache(Stage("a", "prod"))
    assert calls == [{"restApiId": "a", "stageName": "prod"}]


def test_parameter_is_written_encrypted_and_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    set_aws_environment(monkeypatch)
    with mock_aws():
        ssm: Any = boto3.client("ssm")
        parameter = SsmParameter(ssm, "/replicate-proxy/prod/secret")
        assert parameter.read() == ""
        for text in ("one", "two one"):
            parameter.write(text)
            assert parameter.read() == text
        assert ssm.describe_parameters()["Parameters"][0]["Type"] == "SecureString"


@pytest.mark.parametrize(
    ("code", "expected_class"),
    [("AccessDeniedException", ConfigurationError), ("ThrottlingException", RetryableError)],
)
def test_parameter_write_translates_aws_errors(code: str, expected_class: type[Exception]) -> None:
    class Client:
        def put_parameter(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": code}}, "PutParameter")

    with pytest.raises(expected_class):
        SsmParameter(Client(), "x").write("y")
