"""Lambda invocations: starting one, and repeating those that failed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_lambda import LambdaClient

    from replicate_proxy.operations.dead_letters import DeadLetter


@dataclass(frozen=True, slots=True)
class Invocation:
    """A function and its payload. If `waits_for_result`, the invocation is synchronous."""

    function_arn: str
    payload: str
    waits_for_result: bool


def parse_invocation(message: DeadLetter) -> Invocation:
    """Return the invocation that a dead letter is about. Raises PermanentError if it is about none.

    There are three forms: an event that EventBridge could not deliver, with the target in a message attribute
    (Amazon EventBridge, dead-letter queues); the record of a failed asynchronous invocation, with its payload
    (AWS Lambda, asynchronous invocation); and the record of a failed batch of a stream, with the position of
    the batch (AWS Lambda, using Lambda with DynamoDB).
    """
    if message.target_arn is not None:
        return Invocation(message.target_arn, message.body, waits_for_result=False)
    try:
        record = json.loads(message.body)
        function_arn = str(record["requestContext"]["functionArn"])
    except (ValueError, TypeError, KeyError) as error:
        raise PermanentError(f"not a failed invocation: {type(error).__name__}") from error
    if "requestPayload" in record:
        return Invocation(function_arn, json.dumps(record["requestPayload"]), waits_for_result=False)
    # The consumer of the stream has no dead-letter queue for asynchronous invocations, so a failure would be
    # lost: the message stays until a synchronous invocation succeeds.
    return Invocation(function_arn, message.body, waits_for_result=True)


class AsyncInvocation:
    """Invokes a function with a payload, without waiting for the result: the WorkerStarter port."""

    def __init__(self, client: LambdaClient, function_name: str, payload: Mapping[str, str]) -> None:
        self._client = client
        self._function_name = function_name
        self._payload = json.dumps(payload).encode()

    def start(self) -> None:
        with translate_aws_errors("invoke function"):
            self._client.invoke(
                FunctionName=self._function_name, InvocationType="Event", Payload=self._payload
            )


class FailedInvocations:
    """Repeats failed invocations."""

    def __init__(self, client: LambdaClient) -> None:
        self._client = client

    def retry(self, message: DeadLetter) -> None:
        """Repeat the invocation. Raises PermanentError or RetryableError if the message must stay.

        An asynchronous invocation that fails again arrives in the dead-letter queue as a new message.
        """
        invocation = parse_invocation(message)
        with translate_aws_errors("repeat invocation"):
            response = self._client.invoke(
                FunctionName=invocation.function_arn,
                InvocationType="RequestResponse" if invocation.waits_for_result else "Event",
                Payload=invocation.payload.encode(),
            )
        if "FunctionError" in response:
            raise RetryableError("the repeated invocation failed, too")
