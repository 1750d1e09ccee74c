"""What SQS checks before it performs a request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tools.simulation.aws.calls import refuse_unknown
from tools.simulation.aws.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.simulation.aws.calls import Parameters

# Amazon SQS API reference, SendMessage and SendMessageBatch
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_BATCH = 10
_MAX_DELAY_SECONDS = 900
_FORBIDDEN_CHARACTERS = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GROUP_ID = re.compile(r"[!-~]{1,128}")
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


def check_batch(entries: Sequence[Parameters], *accepted: str) -> None:
    prefix = "AWS.SimpleQueueService."
    if not entries:
        raise RejectedError(
            f"{prefix}EmptyBatchRequest",
            "There should be at least one SendMessageBatchRequestEntry in the request.",
        )
    if len(entries) > MAX_BATCH:
        raise RejectedError(
            f"{prefix}TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {MAX_BATCH}. You have sent {len(entries)}.",
        )
    seen: set[str] = set()
    for entry in entries:
        refuse_unknown(entry, *accepted, place="Entries")
        entry_id = entry["Id"]
        if not _ENTRY_ID.fullmatch(entry_id):
            raise RejectedError(
                f"{prefix}InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores."
                " It can be at"
                " most 80 letters long.",
            )
        if entry_id in seen:
            raise RejectedError(f"{prefix}BatchEntryIdsNotDistinct", f"Id {entry_id} repeated.")
        seen.add(entry_id)


def check_message(entry: Parameters) -> None:
    if not entry["MessageBody"]:
        raise RejectedError("MissingParameter", "The request must contain the parameter MessageBody.")
    if _FORBIDDEN_CHARACTERS.search(entry["MessageBody"]):
        raise RejectedError("InvalidMessageContents", "Message contains characters outside the allowed set.")
    delay = entry.get("DelaySeconds", 0)
    if not 0 <= delay <= _MAX_DELAY_SECONDS:
        raise build_invalid_parameter(
            f"Value {delay} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <="
            f" {_MAX_DELAY_SECONDS}."
        )
    group = entry.get("MessageGroupId")
    if group is not None and not _GROUP_ID.fullmatch(group):
        raise build_invalid_parameter(
            f"Value {group} for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include"
            " alphanumeric and punctuation characters. 1 to 128 in length."
        )


def check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise build_invalid_parameter(
            f"Value {value} for parameter {name} is invalid. Reason: Must be between {low} and {high},"
            " if provided."
        )


def build_invalid_parameter(message: str) -> RejectedError:
    return RejectedError("InvalidParameterValue", message)


def measure_message(entry: Parameters) -> int:
    """Return the size of the body and the message attributes, which SQS limits together."""
    body: str = entry["MessageBody"]
    size = len(body) if body.isascii() else len(body.encode("utf-8", "surrogatepass"))
    for name, value in entry.get("MessageAttributes", {}).items():
        refuse_unknown(value, "DataType", "StringValue", place="MessageAttributes")
        size += sum(len(text.encode()) for text in (name, value["DataType"], value["StringValue"]))
    return size
