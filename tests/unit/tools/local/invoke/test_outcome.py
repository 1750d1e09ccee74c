import json
from typing import Any

import pytest

from tools.local.invoke.outcome import format_response, read_outcome


@pytest.mark.parametrize(
    "response",
    [
        None,
        {"statusCode": 200, "body": "{}"},
        {"statusCode": 404, "body": "{}"},
        {"batchItemFailures": []},
        {"jobs": {}, "deliveries": 0, "finished": True},
        {"policyDocument": {}},
    ],
)
def test_handled_event_is_no_failure(response: Any) -> None:
    outcome = read_outcome(f"{json.dumps(response)}\n", 0)

    assert outcome.failure is None
    assert outcome.response == response


@pytest.mark.parametrize(
    ("output", "sam_exit_code", "failure"),
    [
        ("", 0, "the function did not respond"),
        ("\n", 0, "the function did not respond"),
        ("", 1, "ended with exit code 1"),
        ("<html>", 0, "is not JSON"),
        ('{"errorType": "Exception", "errorMessage": "Unauthorized"}', 0, "failed: Exception: Unauthorized"),
        ('{"errorMessage": "Task timed out"}', 0, "failed: error: Task timed out"),
        ('{"statusCode": 503, "body": ""}', 0, "responded with status 503"),
        ('{"batchItemFailures": [{"itemIdentifier": "1"}]}', 0, "failed to handle 1 of its messages"),
    ],
)
def test_function_that_did_not_do_its_work_is_a_failure(
    output: str, sam_exit_code: int, failure: str
) -> None:
    assert failure in (read_outcome(output, sam_exit_code).failure or "")


def test_body_is_shown_as_json() -> None:
    text = format_response({"statusCode": 200, "body": '{"id": "é"}'})

    assert json.loads(text) == {"statusCode": 200, "body": {"id": "é"}}
    assert "é" in text


def test_body_that_is_not_json_is_shown_as_text() -> None:
    assert json.loads(format_response({"statusCode": 200, "body": "plain"}))["body"] == "plain"
