"""The adapter of API Gateway, on moto."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import Mock

import boto3
import pytest
from moto import mock_aws

from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.aws.api_gateway import ApiGateway
from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.operations.ports import Stage
from tests.support.access import deploy_api
from tests.support.aws import make_client_error, make_failing_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_apigateway import APIGatewayClient


@pytest.fixture
def client() -> Iterator[APIGatewayClient]:
    with mock_aws():
        yield boto3.client("apigateway")


@pytest.fixture
def stage(client: APIGatewayClient) -> Stage:
    return Stage(deploy_api(client), "prod")


def test_keys_with_same_limits_share_usage_plan(client: APIGatewayClient, stage: Stage) -> None:
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


def test_delete_key_can_be_repeated(client: APIGatewayClient, stage: Stage) -> None:
    gateway = ApiGateway(client, prefix="stack")
    usage_key = gateway.create_key("acme-1", UsageLimits(10, 20), stage)
    for _ in range(2):
        gateway.delete_key(usage_key.id)
    assert client.get_api_keys()["items"] == []


def test_create_key_adds_stage_of_redeployed_api_to_plan(client: APIGatewayClient, stage: Stage) -> None:
    gateway = ApiGateway(client, prefix="stack")
    gateway.create_key("acme-1", UsageLimits(10, 20), stage)
    new_stage = Stage(deploy_api(client), "prod")
    gateway.create_key("acme-2", UsageLimits(10, 20), new_stage)
    (plan,) = client.get_usage_plans()["items"]
    assert {entry["apiId"] for entry in plan["apiStages"]} == {stage.api_id, new_stage.api_id}


def test_deployments_have_separate_plans(client: APIGatewayClient, stage: Stage) -> None:
    ApiGateway(client, prefix="one").create_key("a", UsageLimits(1, 1), stage)
    ApiGateway(client, prefix="two").create_key("a", UsageLimits(1, 1), stage)
    assert len(client.get_usage_plans()["items"]) == 2


@pytest.mark.parametrize(
    ("code", "expected_class"),
    [("TooManyRequestsException", RetryableError), ("LimitExceededException", PermanentError)],
)
def test_create_key_translates_aws_errors(code: str, expected_class: type[Exception]) -> None:
    gateway = ApiGateway(make_failing_client(make_client_error(code)), prefix="x")
    with pytest.raises(expected_class):
        gateway.create_key("a", UsageLimits(1, 1), Stage("a", "prod"))


def test_flush_returns_false_when_it_fails() -> None:
    client = make_failing_client(make_client_error("AccessDeniedException"))
    assert ApiGateway(client, prefix="x").flush_authorizer_cache(Stage("a", "prod")) is False


def test_flush_flushes_cache_of_stage() -> None:
    client = Mock()
    assert ApiGateway(client, prefix="x").flush_authorizer_cache(Stage("a", "prod"))
    client.flush_stage_authorizers_cache.assert_called_once_with(restApiId="a", stageName="prod")
