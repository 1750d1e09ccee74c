"""What a deployment puts in the place of references, as long as it can be: limits count its characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.template.references import ReferenceResolver
from tools.template.stack import ACCOUNT_ID, REGION

if TYPE_CHECKING:
    from tools.template.stack import Resource, Stack

# As long as the name of a region gets
_LONG_REGION = "ap-southeast-1"
_MAX_BUCKET_CHARACTERS = 63
# CloudFormation ends the names that it makes up with a hyphen and as many characters.
_SUFFIX = "-ABCDEFGHIJKL"
# Service and type of resource in ARNs (Service Authorization Reference)
_ARNS = {
    "DynamoDB::Table": "dynamodb:{account}:table/{name}",
    "Events::Archive": "events:{account}:archive/{name}",
    "Events::EventBus": "events:{account}:event-bus/{name}",
    "Events::Rule": "events:{account}:rule/{stack}-bus/{name}",
    "KMS::Key": "kms:{account}:key/12345678-1234-1234-1234-123456789012",
    "Lambda::Function": "lambda:{account}:function:{name}",
    "S3::Bucket": "::{name}",
    "SQS::Queue": "sqs:{account}:{name}",
    "SecretsManager::Secret": "secretsmanager:{account}:secret:{name}-abcdef",
}
_NAME_PROPERTIES = ("QueueName", "FunctionName", "Name", "RoleName")


class PhysicalNames:
    """Replaces references in a stack of this name."""

    def __init__(self, stack: Stack, stack_name: str) -> None:
        self._stack = stack
        self._stack_name = stack_name
        self._resolver = ReferenceResolver(self._look_up, lambda text: text.replace(REGION, _LONG_REGION))

    def expand(self, value: Any) -> Any:
        """Return a value of the template as the deployed resource has it."""
        return self._resolver.resolve(value)

    def _look_up(self, name: str, attribute: str) -> str:
        return self._refer(name) if attribute == "Ref" else self._get_attribute(name, attribute)

    def _refer(self, name: str) -> str:
        resource = self._stack.resources[name]
        physical = self._name(resource)
        if resource.type == "AWS::SQS::Queue":
            return f"https://sqs.{_LONG_REGION}.amazonaws.com/{ACCOUNT_ID}/{physical}"
        return physical

    def _get_attribute(self, name: str, attribute: str) -> str:
        resource = self._stack.resources[name]
        kind = resource.type.removeprefix("AWS::")
        if attribute not in {"Arn", "Id", "StreamArn"} or kind not in _ARNS:
            return self._name(resource)
        return f"arn:aws:{_ARNS[kind]}".format(
            account=f"{_LONG_REGION}:{ACCOUNT_ID}", stack=self._stack_name, name=self._name(resource)
        )

    def _name(self, resource: Resource) -> str:
        given = next(
            (resource.properties[name] for name in _NAME_PROPERTIES if name in resource.properties), ""
        )
        if isinstance(given, str) and given:
            return given
        made_up = f"{self._stack_name}-{resource.id}{_SUFFIX}"
        return made_up[:_MAX_BUCKET_CHARACTERS] if resource.type == "AWS::S3::Bucket" else made_up
