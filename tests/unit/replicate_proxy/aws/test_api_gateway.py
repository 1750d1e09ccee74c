"""Usage plans at API Gateway, and one parameter of SSM, on moto."""

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


def test_keys_with_the_same_limits_share_a_plan(client: Any, stage: Stage) -> None:
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
    members = client.get_usage_plan_keys(usagePlanId=shared["id"])["items"]
    assert {member["id"] for member in members} == {first.id, second.id}
    assert first.value != second.value
    assert client.get_api_key(apiKey=first.id, includeValue=True)["value"] == first.value


def test_an_expelled_key_is_gone_and_may_be_expelled_again(client: Any, stage: Stage) -> None:
    gateway = ApiGateway(client, prefix="stack")
    seat = gateway.create_key("acme-1", UsageLimits(10, 20), stage)
    for _ in range(2):
        gateway.delete_key(seat.id)
    assert client.get_api_keys()["items"] == []


def test_a_plan_takes_in_the_stage_of_a_redeployed_api(client: Any, stage: Stage) -> None:
    gateway = ApiGateway(client, prefix="stack")
    gateway.create_key("acme-1", UsageLimits(10, 20), stage)
    again = Stage(deploy_api(client), "prod")
    gateway.create_key("acme-2", UsageLimits(10, 20), again)
    (plan,) = client.get_usage_plans()["items"]
    assert {entry["apiId"] for entry in plan["apiStages"]} == {stage.api_id, again.api_id}


def test_plans_of_other_deployments_are_left_alone(client: Any, stage: Stage) -> None:
    ApiGateway(client, prefix="one").create_key("a", UsageLimits(1, 1), stage)
    ApiGateway(client, prefix="two").create_key("a", UsageLimits(1, 1), stage)
    assert len(client.get_usage_plans()["items"]) == 2


class _Refusing:
    def __init__(self, code: str) -> None:
        self._error = ClientError({"Error": {"Code": code}}, "x")

    def get_paginator(self, _: str) -> Any:
        raise self._error

    def flush_stage_authorizers_cache(self, **_: Any) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("code", "expected"),
    [("TooManyRequestsException", RetryableError), ("LimitExceededException", PermanentError)],
)
def test_failures_say_whether_to_try_again(code: str, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        ApiGateway(_Refusing(code), prefix="x").create_key("a", UsageLimits(1, 1), Stage("a", "prod"))


def test_a_cache_that_cannot_be_flushed_is_told_and_no_error() -> None:
    assert (
        ApiGateway(_Refusing("AccessDeniedException"), prefix="x").flush_authorizer_cache(Stage("a", "prod"))
        is False
    )


def test_the_cache_of_that_stage_is_flushed() -> None:
    flushed = []

    class Client:
        def flush_stage_authorizers_cache(self, **which: Any) -> None:
            flushed.append(which)

    assert ApiGateway(Client(), prefix="x").flush_authorizer_cache(Stage("a", "prod"))
    assert flushed == [{"restApiId": "a", "stageName": "prod"}]


def test_a_parameter_is_written_encrypted_and_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
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
    ("code", "expected"),
    [("AccessDeniedException", ConfigurationError), ("ThrottlingException", RetryableError)],
)
def test_a_parameter_that_cannot_be_written_says_why(code: str, expected: type[Exception]) -> None:
    class Client:
        def put_parameter(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": code}}, "PutParameter")

    with pytest.raises(expected):
        SsmParameter(Client(), "x").write("y")
