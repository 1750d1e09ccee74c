"""The sample events of `events/` on the deployed functions: each gets the kind of answer its README promises.

The samples speak of a job, keys and times that the stack does not know, so what is promised beyond the kind
of answer is for the functions' own tests.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tools.local.paths import ROOT
from tools.local.stack import Stack

EVENTS = ROOT / "events"
HTTP = ("admin", "catalog", "endpoints", "files", "ingest", "query", "webhook")
QUEUES = ("deliver", "dispatch", "harvest", "track")
_ROW = re.compile(r"\| \[.*?\]\((?P<sample>\S+)\.json\) \| .*: (?P<status>4\d\d)\b")
PROMISED = {
    row["sample"]: int(row["status"])
    for row in _ROW.finditer((EVENTS / "README.md").read_text(encoding="utf-8"))
    # These are all refused for the age of their signatures before anything else is looked at.
    if not row["sample"].startswith("webhook/")
}


def samples(*functions: str) -> list[str]:
    return sorted(
        f"{path.parent.name}/{path.stem}" for path in EVENTS.glob("*/*.json") if path.parent.name in functions
    )


@pytest.fixture(scope="module")
def answers(stack: Stack) -> dict[str, Any]:
    """What each function said to each of its samples."""
    lambdas, names = stack.get_client("lambda"), stack.function_names

    def invoke(sample: str) -> tuple[str, Any]:
        function = names[sample.partition("/")[0]]
        reply = lambdas.invoke(FunctionName=function, Payload=(EVENTS / f"{sample}.json").read_bytes())
        said = json.loads(reply["Payload"].read())
        return sample, {"crashed": said} if "FunctionError" in reply else said

    # One after the other: a second call at the same time would start a second worker of the function.
    return dict(invoke(sample) for sample in samples(*HTTP, *QUEUES, "authorize", "notify"))


@pytest.mark.parametrize("sample", [name for name in samples(*HTTP) if name != "admin/schedule"])
def test_request(answers: dict[str, Any], sample: str) -> None:
    said = answers[sample]

    assert said.get("statusCode", 500) < 500, said
    assert said["statusCode"] == PROMISED.get(sample, said["statusCode"])
    if said["statusCode"] >= 400:
        assert said["headers"]["content-type"] == "application/problem+json"
        assert json.loads(said["body"])["status"] == said["statusCode"]


@pytest.mark.parametrize("sample", samples(*QUEUES))
def test_batch(answers: dict[str, Any], sample: str) -> None:
    """Messages that nothing could mend, and those alone, come back as failures."""
    failures = answers[sample]["batchItemFailures"]

    messages = {record["messageId"] for record in _sample(sample)["Records"]}
    assert {failure["itemIdentifier"] for failure in failures} <= messages
    if "poison" in sample or "invalid" in sample:
        assert failures
    if "batch_with" in sample:
        assert len(failures) < len(messages)


def test_tick_of_the_schedule(answers: dict[str, Any]) -> None:
    assert "crashed" not in (answers["admin/schedule"] or {})


@pytest.mark.parametrize("sample", samples("notify"))
def test_stream(answers: dict[str, Any], sample: str) -> None:
    assert "batchItemFailures" in answers[sample]


@pytest.mark.parametrize("sample", samples("authorize"))
def test_unknown_credentials_get_no_policy_that_allows(answers: dict[str, Any], sample: str) -> None:
    """The samples' credentials are made up: API Gateway is told `Unauthorized` or a denial."""
    said = answers[sample]

    assert '"Allow"' not in json.dumps(said)
    assert "Unauthorized" in json.dumps(said) or '"Deny"' in json.dumps(said)


def _sample(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((Path(EVENTS) / f"{name}.json").read_text(encoding="utf-8"))
    return loaded
