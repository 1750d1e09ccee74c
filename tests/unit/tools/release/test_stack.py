"""What a stack tells of itself, and the record of its last good release."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from tools.release.errors import ReleaseError
from tools.release.stack import DeployedStack
from tools.release.target import Target

TARGET = Target("default", "replicate-proxy", "eu-central-1")


@pytest.fixture
def stack() -> Iterator[DeployedStack]:
    with mock_aws():
        yield DeployedStack.of(TARGET)


def test_the_last_good_release_is_remembered(stack: DeployedStack) -> None:
    assert stack.last_good() is None
    stack.remember("a" * 40)
    stack.remember("b" * 40)
    assert DeployedStack.of(TARGET).last_good() == "b" * 40


def test_stacks_have_records_of_their_own(stack: DeployedStack) -> None:
    stack.remember("a" * 40)
    assert DeployedStack.of(Target("dev", "replicate-proxy-dev", "eu-central-1")).last_good() is None


def test_the_address_is_an_output() -> None:
    cloudformation = boto3.client("cloudformation", region_name="eu-central-1")
    described = {
        "StackName": TARGET.stack_name,
        "CreationTime": "2026-01-31T09:30:00Z",
        "StackStatus": "UPDATE_COMPLETE",
        "Outputs": [{"OutputKey": "ApiUrl", "OutputValue": "https://api.example.com/prod"}],
    }
    with Stubber(cloudformation) as stubbed:
        stubbed.add_response("describe_stacks", {"Stacks": [described]})
        stubbed.add_client_error("describe_stacks", "AccessDenied")
        stack = DeployedStack(TARGET.stack_name, cloudformation, boto3.client("ssm", "eu-central-1"))

        assert stack.api_url() == "https://api.example.com/prod"
        with pytest.raises(ReleaseError, match="AccessDenied"):
            stack.api_url()
