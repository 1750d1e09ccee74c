"""The deployed functions, invoked with the sample events of `events/`.

Job, keys and times of the samples do not exist in the stack, so these tests check the kind of response only.
"""

import json
import re
from typing import Any

import pytest

from tools.local.paths import ROOT
from tools.local.stack import Stack

EVENTS_FOLDER = ROOT / "events"
HTTP_FUNCTIONS = ("admin", "catalog", "endpoints", "files", "ingest", "query", "webhook")
QUEUE_FUNCTIONS = ("deliver", "dispatch", "harvest", "track")
SCHEDULES = ("admin/continue_bulk_operations", "admin/maintain_accounts", "admin/schedule")
_README_ROW = re.compile(r"\| \[.*?\]\((?P<sample>\S+)\.json\) \| .*: (?P<status>4\d\d)\b")
DOCUMENTED_STATUSES = {
    row["sample"]: int(row["status"])
    for row in _README_ROW.finditer((EVENTS_FOLDER / "README.md").read_text(encoding="utf-8"))
    # The signatures of these samples have expired, which is checked before anything else.
    if not row["sample"].startswith("webhook/")
}


def _list_samples(*functions: str) -> list[str]:
    return sorted(
        f"{path.parent.name}/{path.stem}"
        for path in EVENTS_FOLDER.glob("*/*.json")
        if path.parent.name in functions
    )


@pytest.fixture(scope="module")
def responses(stack: Stack) -> dict[str, Any]:
    """The response of each function to each of its samples, by sample."""
    lambda_client = stack.get_client("lambda")

    def invoke(sample: str) -> Any:
        result = lambda_client.invoke(
            FunctionName=stack.function_names[sample.partition("/")[0]],
            Payload=(EVENTS_FOLDER / f"{sample}.json").read_bytes(),
        )
        response = json.loads(result["Payload"].read())
        return {"crashed": response} if "FunctionError" in result else response

    # One after the other: a simultaneous invocation would start another worker of the function.
    samples = _list_samples(*HTTP_FUNCTIONS, *QUEUE_FUNCTIONS, "authorize", "notify")
    return {sample: invoke(sample) for sample in samples}


@pytest.mark.parametrize("sample", [name for name in _list_samples(*HTTP_FUNCTIONS) if name not in SCHEDULES])
def test_request_gets_the_documented_status(responses: dict[str, Any], sample: str) -> None:
    response = responses[sample]

    assert response.get("statusCode", 500) < 500, response
    assert response["statusCode"] == DOCUMENTED_STATUSES.get(sample, response["statusCode"])
    if response["statusCode"] >= 400:
        assert response["headers"]["content-type"] == "application/problem+json"
        assert json.loads(response["body"])["status"] == response["statusCode"]


@pytest.mark.parametrize("sample", _list_samples(*QUEUE_FUNCTIONS))
def test_batch_fails_only_for_messages_that_cannot_succeed(responses: dict[str, Any], sample: str) -> None:
    failures = responses[sample]["batchItemFailures"]

    event = json.loads((EVENTS_FOLDER / f"{sample}.json").read_text(encoding="utf-8"))
    message_ids = {record["messageId"] for record in event["Records"]}
    assert {failure["itemIdentifier"] for failure in failures} <= message_ids
    if "poison" in sample or "invalid" in sample:
        assert failures
    if "batch_with" in sample:
        assert len(failures) < len(message_ids)


@pytest.mark.parametrize("sample", SCHEDULES)
def test_schedule_of_admin_succeeds(responses: dict[str, Any], sample: str) -> None:
    assert "crashed" not in (responses[sample] or {})


@pytest.mark.parametrize("sample", _list_samples("notify"))
def test_stream_batch_gets_a_partial_batch_response(responses: dict[str, Any], sample: str) -> None:
    assert "batchItemFailures" in responses[sample]


@pytest.mark.parametrize("sample", _list_samples("authorize"))
def test_unknown_credential_gets_no_policy_that_allows(responses: dict[str, Any], sample: str) -> None:
    """The authorizer answers `Unauthorized` or denies: the credentials of the samples do not exist."""
    text = json.dumps(responses[sample])

    assert '"Allow"' not in text
    assert "Unauthorized" in text or '"Deny"' in text
