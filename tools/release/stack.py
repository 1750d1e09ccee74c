"""The deployed stack: its outputs, and which commit was last proved to work in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from tools.release.errors import ReleaseError

if TYPE_CHECKING:
    from types_boto3_cloudformation import CloudFormationClient
    from types_boto3_ssm import SSMClient

    from tools.release.target import Target


@dataclass(frozen=True)
class DeployedStack:
    """Talks to AWS with the shell's credentials; each failure is a `ReleaseError`."""

    name: str
    cloudformation: CloudFormationClient
    ssm: SSMClient

    @classmethod
    def of(cls, target: Target) -> DeployedStack:
        session = boto3.Session(region_name=target.region)
        try:
            return cls(target.stack_name, session.client("cloudformation"), session.client("ssm"))
        except BotoCoreError as error:
            raise ReleaseError(f"no way to AWS: {error}") from error

    def api_url(self) -> str:
        try:
            stacks = self.cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        except (BotoCoreError, ClientError) as error:
            raise ReleaseError(f"the stack {self.name} cannot be read: {error}") from error
        outputs = {row["OutputKey"]: row["OutputValue"] for row in stacks[0].get("Outputs", [])}
        return outputs["ApiUrl"]

    def last_good(self) -> str | None:
        """The commit of the last release that passed its validation; None before the first."""
        try:
            return self.ssm.get_parameter(Name=self._record)["Parameter"]["Value"]
        except self.ssm.exceptions.ParameterNotFound:
            return None
        except (BotoCoreError, ClientError) as error:
            raise ReleaseError(f"the parameter {self._record} cannot be read: {error}") from error

    def remember(self, commit: str) -> None:
        try:
            self.ssm.put_parameter(Name=self._record, Value=commit, Type="String", Overwrite=True)
        except (BotoCoreError, ClientError) as error:
            raise ReleaseError(f"the parameter {self._record} cannot be written: {error}") from error

    @property
    def _record(self) -> str:
        return f"/{self.name}/release"
