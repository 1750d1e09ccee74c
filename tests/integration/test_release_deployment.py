"""Deployments of a release, by the real SAM CLI to the emulator of the local stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.local.emulator import build_tool_environment
from tools.local.paths import ROOT
from tools.release.sam import Sam
from tools.release.stack import DeployedStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.local.stack import Stack

STACK_NAME = "release-test"
TEMPLATE = """
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Size: {Type: Number, Default: 1}
  Text: {Type: String, Default: ''}
Resources:
  Parameter: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: !Sub '${Size} ${Text}.'}}
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
# A public key has lines, and SAM gives quotes, spaces and equals signs a meaning of their own.
TEXT = """-----BEGIN PUBLIC KEY-----
MFkw+/A=
-----END PUBLIC KEY-----
192.0.2.0/24,2001:db8::/32 "quoted" 'it' Size=5"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "template.yaml").write_text(TEMPLATE, encoding="utf-8")
    (tmp_path / "samconfig.toml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


@pytest.fixture
def deployed(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeployedStack]:
    """The stack of the checkout, in the AWS that the environment names; it is deleted at the end."""
    for name, value in build_tool_environment(stack.endpoint_url).items():
        monkeypatch.setenv(name, value)
    cloudformation = stack.get_client("cloudformation")
    yield DeployedStack(STACK_NAME, cloudformation, stack.get_client("ssm"))
    cloudformation.delete_stack(StackName=STACK_NAME)


def test_release_deploys_by_samconfig_and_its_rollback_by_the_given_parameters(
    checkout: Path, deployed: DeployedStack
) -> None:
    sam = Sam(ROOT / ".venvs/sam/bin")
    parameters = {"Size": "3", "Text": TEXT, "NotInTheTemplate": "x"}

    sam.deploy(checkout, "dev", "abc")
    assert deployed.get_parameters() == {"Size": "2", "Text": ""}
    sam.deploy(checkout, "dev", "abc", immediate=True, parameters=parameters)

    assert deployed.get_parameters() == {"Size": "3", "Text": TEXT}
