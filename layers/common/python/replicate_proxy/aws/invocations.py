"""Failed invocations made again: those of the schedules, and batches of the stream that were given up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from replicate_proxy.operations.dead_letters import DeadLetter


@dataclass(frozen=True, slots=True)
class Invocation:
    """A function by ARN and what it is to be called with. `waits`: only its own success ends the letter."""

    function_arn: str
    payload: str
    waits_for_result: bool


def parse_invocation(letter: DeadLetter) -> Invocation:
    """The call that a letter is about. Raises PermanentError where it is about none.

    Three forms: what a rule could not hand over (the event, with its target as attribute; Amazon EventBridge,
    dead-letter queues), and records of on-failure destinations, with the payload of an asynchronous call or
    with the position of a stream's batch (AWS Lambda, asynchronous invocation; using Lambda with DynamoDB).
    """
    if letter.target_arn is not None:
        return Invocation(letter.target_arn, letter.body, waits_for_result=False)
    try:
        record = json.loads(letter.body)
        function = str(record["requestContext"]["functionArn"])
    except (ValueError, TypeError, KeyError) as error:
        raise PermanentError(f"not a failed invocation: {type(error).__name__}") from error
    if "requestPayload" in record:
        return Invocation(function, json.dumps(record["requestPayload"]), waits_for_result=False)
    # The stream's consumer has no dead-letter queue for calls like this one, so its answer is waited for.
    return Invocation(function, letter.body, waits_for_result=True)


class FailedInvocations:
    """Makes them by boto3's `lambda` client. A call that fails again comes back, or never left its queue."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def retry(self, letter: DeadLetter) -> None:
        """Raises PermanentError or RetryableError where the letter must stay."""
        wanted = parse_invocation(letter)
        with translate_aws_errors("invoke again"):
            reply = self._client.invoke(
                FunctionName=wanted.function_arn,
                InvocationType="RequestResponse" if wanted.waits_for_result else "Event",
                Payload=wanted.payload.encode(),
            )
        if "FunctionError" in reply:
            raise RetryableError("invoke again: the function failed again")
