"""Commands in batches of ten: what SQS did not accept is sent again; large batches have their own queue."""

from __future__ import annotations

from typing import Any, cast

import pytest

from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import RetryableError


class FakeSqs:
    """Accepts messages; `failures` says how many entries of each of the next requests fail."""

    def __init__(self, *failures: int) -> None:
        self.failures = list(failures)
        self.accepted: list[tuple[str, str]] = []
        self.sizes: list[int] = []

    def send_message(self, **request: Any) -> None:
        self.accepted.append((request["QueueUrl"], request["MessageBody"]))

    def send_message_batch(self, *, QueueUrl: str, Entries: Any) -> dict[str, Any]:  # noqa: N803 - names of boto3
        count = self.failures.pop(0) if self.failures else 0
        self.sizes.append(len(Entries))
        self.accepted += [(QueueUrl, entry["MessageBody"]) for entry in Entries[count:]]
        return {"Failed": [{"Id": entry["Id"], "Code": "InternalError"} for entry in Entries[:count]]}


def make_command(number: int, *, is_batched: bool = False) -> DispatchCommand:
    return DispatchCommand(DispatchKind.SUBMIT, "acme", f"job-{number}", "c-1", is_batched=is_batched)


def make_queue(client: FakeSqs) -> SqsCommandQueue:
    return SqsCommandQueue(cast(Any, client), "main", "batches")


def test_entries_that_were_not_accepted_are_sent_again_alone() -> None:
    client = FakeSqs(3, 1)
    make_queue(client).send_all([make_command(number) for number in range(25)])

    assert client.sizes == [10, 3, 1, 10, 5]
    assert sorted(DispatchCommand.from_json(body).job_id for _, body in client.accepted) == sorted(
        f"job-{number}" for number in range(25)
    )


def test_entries_that_are_never_accepted_raise() -> None:
    with pytest.raises(RetryableError, match="InternalError"):
        make_queue(FakeSqs(1, 1, 1, 1)).send_all([make_command(1)])


def test_commands_of_large_batches_go_to_their_queue() -> None:
    client = FakeSqs()
    queue = make_queue(client)
    queue.send_all([make_command(1, is_batched=True), make_command(2)])
    queue.send(make_command(3, is_batched=True))
    queue.send(make_command(4))

    sent = [(url, DispatchCommand.from_json(body)) for url, body in client.accepted]
    assert [(url, command.job_id, command.is_batched) for url, command in sent] == [
        ("main", "job-2", False),
        ("batches", "job-1", True),
        ("batches", "job-3", True),
        ("main", "job-4", False),
    ]
