"""The deployed stack: the address of its API, whether Replicate calls it, and the last good commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from tools.release.errors import ReleaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_cloudformation import CloudFormationClient
    from types_boto3_cloudformation.type_defs import StackTypeDef
    from types_boto3_ssm import SSMClient

    from tools.release.target import Target

_WEBHOOKS_PARAMETER = "EnableReplicateWebhooks"
_MISSING_STACK = "does not exist"


@dataclass(frozen=True)
class DeployedStack:
    """A stack on AWS. Each method raises `ReleaseError` if AWS returns an error.

    The last good commit is in the SSM parameter `/<stack>/release`.
    """

    name: str
    cloudformation: CloudFormationClient
    ssm: SSMClient

    @classmethod
    def connect(cls, target: Target) -> DeployedStack:
        """Create the clients with the credentials of the shell."""
        session = boto3.Session(region_name=target.region)
        try:
            return cls(target.stack_name, session.client("cloudformation"), session.client("ssm"))
        except BotoCoreError as error:
            raise ReleaseError(f"cannot create AWS clients: {error}") from error

    def get_api_url(self) -> str:
        """Return the stack output ApiUrl."""
        outputs = self._describe().get("Outputs", [])
        return {output["OutputKey"]: output["OutputValue"] for output in outputs}["ApiUrl"]

    def expects_webhooks(self) -> bool:
        """Return whether the stack is deployed with Replicate's webhooks, and does not poll instead."""
        return self.get_parameters().get(_WEBHOOKS_PARAMETER) != "false"

    def get_parameters(self) -> Mapping[str, str]:
        """Return the values of the template's parameters by name; empty if the stack does not exist yet."""
        try:
            stack = self._describe()
        except ReleaseError as error:
            if _MISSING_STACK in str(error):
                return {}
            raise
        return {
            parameter["ParameterKey"]: parameter["ParameterValue"]
            for parameter in stack.get("Parameters", [])
        }

    def get_last_good(self) -> str | None:
        """Return the last commit that was valid after its deployment; None before the first."""
        try:
            return self.ssm.get_parameter(Name=self._parameter_name)["Parameter"]["Value"]
        except self.ssm.exceptions.ParameterNotFound:
            return None
        except (BotoCoreError, ClientError) as error:
            raise ReleaseError(f"cannot read the parameter {self._parameter_name}: {error}") from error

    def set_last_good(self, commit: str) -> None:
        try:
            self.ssm.put_parameter(Name=self._parameter_name, Value=commit, Type="String", Overwrite=True)
        except (BotoCoreError, ClientError) as error:
            raise ReleaseError(f"cannot write the parameter {self._parameter_name}: {error}") from error

    def _describe(self) -> StackTypeDef:
        try:
            return self.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        except (BotoCoreError, ClientError) as error:
            raise ReleaseError(f"cannot read the stack {self.name}: {error}") from error

    @property
    def _parameter_name(self) -> str:
        return f"/{self.name}/release"
