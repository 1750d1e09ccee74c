from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from tools.release.errors import ReleaseError
from tools.release.stack import DeployedStack
from tools.release.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from types_boto3_cloudformation.type_defs import OutputTypeDef, ParameterTypeDef

TARGET = Target("default", "replicate-proxy", "eu-central-1")


@pytest.fixture
def stack() -> Iterator[DeployedStack]:
    with mock_aws():
        yield DeployedStack.connect(TARGET)


@contextmanager
def describe_then_deny(description: Mapping[str, Sequence[object]]) -> Iterator[DeployedStack]:
    """Yield a stack that CloudFormation describes by these properties once, and then denies."""
    cloudformation = boto3.Session(region_name="eu-central-1").client("cloudformation")
    required = {
        "StackName": TARGET.stack_name,
        "CreationTime": "2026-01-31T09:30:00Z",
        "StackStatus": "UPDATE_COMPLETE",
    }
    with Stubber(cloudformation) as stubber:
        stubber.add_response("describe_stacks", {"Stacks": [{**required, **description}]})
        stubber.add_client_error("describe_stacks", "AccessDenied")
        yield DeployedStack(TARGET.stack_name, cloudformation, boto3.client("ssm", "eu-central-1"))


def test_last_good_commit_is_stored(stack: DeployedStack) -> None:
    assert stack.get_last_good() is None
    stack.set_last_good("a" * 40)
    stack.set_last_good("b" * 40)
    assert DeployedStack.connect(TARGET).get_last_good() == "b" * 40


def test_each_stack_has_its_own_last_good_commit(stack: DeployedStack) -> None:
    stack.set_last_good("a" * 40)
    other = DeployedStack.connect(Target("dev", "replicate-proxy-dev", "eu-central-1"))
    assert other.get_last_good() is None


def test_api_url_is_an_output_of_the_stack() -> None:
    output: OutputTypeDef = {"OutputKey": "ApiUrl", "OutputValue": "https://api.example.com/prod"}
    with describe_then_deny({"Outputs": [output]}) as stack:
        assert stack.get_api_url() == "https://api.example.com/prod"
        with pytest.raises(ReleaseError, match="AccessDenied"):
            stack.get_api_url()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([{"ParameterKey": "EnableReplicateWebhooks", "ParameterValue": "true"}], True),
        ([{"ParameterKey": "EnableReplicateWebhooks", "ParameterValue": "false"}], False),
        ([{"ParameterKey": "EnableVpc", "ParameterValue": "false"}], True),
    ],
)
def test_stack_without_replicates_webhooks_is_polled(
    parameters: list[ParameterTypeDef], *, expected: bool
) -> None:
    with describe_then_deny({"Parameters": parameters}) as stack:
        assert stack.expects_webhooks() is expected


def test_stack_that_does_not_exist_has_no_parameters(stack: DeployedStack) -> None:
    assert stack.get_parameters() == {}


def test_parameters_are_those_of_the_deployment() -> None:
    parameter: ParameterTypeDef = {"ParameterKey": "Stage", "ParameterValue": "prod"}
    with describe_then_deny({"Parameters": [parameter]}) as stack:
        assert stack.get_parameters() == {"Stage": "prod"}
        with pytest.raises(ReleaseError, match="AccessDenied"):
            stack.get_parameters()
