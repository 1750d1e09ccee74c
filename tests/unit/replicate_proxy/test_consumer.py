"""Messages that fail: which errors are counted, and which are raised."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from replicate_proxy.consumer import handle_messages, identify_job, log_message_outcome
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ConfigurationError, NotFoundError, PermanentError, RetryableError
from replicate_proxy.observability import Metric
from tests.support.logs import read_log
from tests.support.metrics import MetricsReader


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (PermanentError("malformed"), {("permanent",): 1}),
        (ConfigurationError("no permission"), {("configuration",): 1}),
        (KeyError("bug"), {("unexpected",): 1}),
        (RetryableError("busy"), {}),
    ],
)
def test_error_is_raised_and_counted_unless_it_is_temporary(
    emitted: MetricsReader, error: Exception, counted: dict[tuple[str], int]
) -> None:
    with pytest.raises(type(error)), log_message_outcome("m-1", "2"):
        raise error

    assert emitted.sum_by(Metric.MESSAGE_FAILED, "reason") == counted


def test_failed_messages_are_returned_and_the_others_are_handled() -> None:
    errors = {"1": KeyError("bug"), "2": RetryableError("busy"), "3": NotFoundError("no such job")}
    handled = []

    def handle(body: str) -> None:
        handled.append(body)
        if body in errors:
            raise errors[body]

    records = [
        {"messageId": f"m-{body}", "body": body, "attributes": {"ApproximateReceiveCount": "1"}}
        for body in ("0", "1", "2", "3", "4")
    ]

    assert handle_messages({"Records": records}, handle) == {
        "batchItemFailures": [{"itemIdentifier": "m-1"}, {"itemIdentifier": "m-2"}]
    }
    assert handled == ["0", "1", "2", "3", "4"]


def test_message_of_unknown_job_is_dropped(emitted: MetricsReader) -> None:
    @log_message_outcome("m-1", "1")
    def handle_message() -> None:
        raise NotFoundError("no such job")

    handle_message()

    assert emitted.sum(Metric.MESSAGE_FAILED) == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NotFoundError("gone"), "message dropped"),
        (PermanentError("gone"), "message cannot be handled"),
        (RetryableError("gone"), "message will be retried"),
        (KeyError("gone"), "message failed unexpectedly"),
    ],
)
def test_line_about_a_failure_names_message_and_job(error: Exception, message: str) -> None:
    command = DispatchCommand(DispatchKind.SUBMIT, "acme", "job-1", "req-1")
    with read_log() as log:
        with suppress(Exception), log_message_outcome("m-1", "5"):
            identify_job(command)
            raise error
        with suppress(Exception), log_message_outcome("m-2", "1"):
            raise PermanentError("not a command")

    [line] = log.find(message)[:1]
    assert (line["message_id"], line["receive_count"]) == ("m-1", "5")
    assert (line["job_id"], line["tenant"], line["correlation_id"]) == ("job-1", "acme", "req-1")
    assert "gone" in json.dumps(line)
    poison = log.find("message cannot be handled")[-1]
    assert poison["message_id"] == "m-2"
    assert "job_id" not in poison
