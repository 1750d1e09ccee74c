"""Deployments of a release, by the real SAM CLI to the emulator of the local stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.local.emulator import build_tool_environment
from tools.local.paths import ROOT
from tools.release.sam import Sam

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from types_boto3_cloudformation import CloudFormationClient

    from tools.local.stack import Stack

STACK_NAME = "release-test"
TEMPLATE = """
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Size: {Type: Number, Default: 1}
Resources:
  Parameter: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: !Ref Size}}
"""
CONFIG = f"""
version = 0.1
[dev.global.parameters]
stack_name = "{STACK_NAME}"
[dev.deploy.parameters]
capabilities = "CAPABILITY_IAM"
resolve_s3 = true
parameter_overrides = "Size=2"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "template.yaml").write_text(TEMPLATE, encoding="utf-8")
    (tmp_path / "samconfig.toml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


@pytest.fixture
def cloudformation(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudFormationClient]:
    """CloudFormation of the AWS that the environment names; deletes the stack of the checkout at the end."""
    for name, value in build_tool_environment(stack.endpoint_url).items():
        monkeypatch.setenv(name, value)
    client: CloudFormationClient = stack.get_client("cloudformation")
    yield client
    client.delete_stack(StackName=STACK_NAME)


def test_release_deploys_by_samconfig_of_its_environment(
    checkout: Path, cloudformation: CloudFormationClient
) -> None:
    Sam(ROOT / ".venvs/sam/bin").deploy(checkout, "dev", "abc")

    (found,) = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"]
    assert found["StackStatus"] == "CREATE_COMPLETE"
    assert found["Parameters"] == [{"ParameterKey": "Size", "ParameterValue": "2"}]
