"""The sample events fit the template and the contracts: what they stand for is what would really arrive."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from replicate_proxy import signing
from replicate_proxy.contracts.commands import DispatchCommand
from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.errors import PermanentError
from replicate_proxy.replicate_api.callback_url import WebhookUrls
from tests.template.rules.api import OPEN, methods
from tests.template.stack import load, target

EVENTS = Path(__file__).parents[2] / "events"
SAMPLES = sorted(f"{path.parent.name}/{path.stem}" for path in EVENTS.glob("*/*.json"))
# As events/README.md says
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ROOT_SECRET = ("r" * 64).encode()
NOW = 1769851805
NOT_FRESH_AND_SIGNED = {"webhook/forged", "webhook/stale", "webhook/unsigned"}
POISONED = {"dispatch/poison", "dispatch/batch_with_poison", "track/poison", "harvest/poison"}
_CREDENTIALS = re.compile(r"r8_[A-Za-z0-9]{37}|AKIA[A-Z0-9]{16}|whsec_(?!MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw)")


def sample(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def of(*functions: str) -> list[str]:
    return [name for name in SAMPLES if name.split("/")[0] in functions]


def requests() -> list[str]:
    return [
        name for name in SAMPLES if "httpMethod" in sample(name) and sample(name).get("type") != "REQUEST"
    ]


def routed() -> dict[tuple[str, str], str]:
    """Function that each route leads to."""
    found = {}
    for method, path, definition in methods(load()):
        uri = definition["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
        found[method.upper(), path] = uri.split("${")[-1].split("Function")[0].lower()
    return found


def test_every_function_has_samples() -> None:
    functions = {one.id.removesuffix("Function").lower() for one in load().of("Lambda::Function")}
    assert {name.split("/")[0] for name in SAMPLES} == functions


def test_the_index_lists_every_sample() -> None:
    listed = re.findall(r"\]\((\S+)\.json\)", (EVENTS / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == SAMPLES


@pytest.mark.parametrize("name", requests())
def test_a_request_takes_a_route_of_its_function(name: str) -> None:
    event = sample(name)
    route = (event["httpMethod"], event["resource"])

    assert routed()[route] == name.split("/", maxsplit=1)[0]
    assert event["requestContext"]["resourcePath"] == event["resource"]
    if (route[0].lower(), route[1]) in OPEN:
        assert "authorizer" not in event["requestContext"]


@pytest.mark.parametrize("name", SAMPLES)
def test_no_sample_holds_a_credential(name: str) -> None:
    assert _CREDENTIALS.search((EVENTS / f"{name}.json").read_text(encoding="utf-8")) is None


@pytest.mark.parametrize("name", of("webhook"))
def test_webhooks_are_signed_and_fresh_but_for_those_that_shall_not_be(name: str) -> None:
    event = sample(name)
    headers = {key.lower(): value for key, value in event["headers"].items()}
    sent = int(headers["webhook-timestamp"])
    genuine = signing.webhook_signature_matches(
        [SECRET],
        message_id=headers["webhook-id"],
        timestamp=sent,
        body=event["body"].encode(),
        header=headers.get("webhook-signature", ""),
    )

    fresh = abs(NOW - sent) <= signing.WEBHOOK_TOLERANCE_SECONDS
    assert (genuine and fresh) is (name not in NOT_FRESH_AND_SIGNED)


@pytest.mark.parametrize("name", of("webhook"))
def test_the_address_of_a_webhook_names_the_sample_job(name: str) -> None:
    job = WebhookUrls("", ROOT_SECRET).read(sample(name)["queryStringParameters"])

    assert (job is None) is (name == "webhook/other_job")
    assert job is None or (job.tenant, job.job_id) == ("acme", "01kgahp2x3m4n5p6q7r8s9t0va")


@pytest.mark.parametrize("name", of("dispatch", "track", "harvest"))
def test_messages_can_be_read_but_for_the_poisoned(name: str) -> None:
    read = DispatchCommand.from_json if name.startswith("dispatch/") else PredictionReport.from_queue
    broken = 0
    for record in sample(name)["Records"]:
        try:
            read(record["body"])
        except PermanentError:
            broken += 1

    assert (broken > 0) is (name in POISONED)


@pytest.mark.parametrize("name", [name for name in of("track", "harvest") if name not in POISONED])
def test_events_come_by_the_rule_that_leads_to_their_queue(name: str) -> None:
    queue = f"{name.split('/', maxsplit=1)[0].title()}Queue"
    (rule,) = [
        one for one in load().of("Events::Rule") if target(one.properties["Targets"][0]["Arn"]) == queue
    ]
    pattern = rule.properties["EventPattern"]

    for record in sample(name)["Records"]:
        event = json.loads(record["body"])
        assert event["source"] in pattern["source"]
        assert event["detail-type"] in pattern.get("detail-type", [event["detail-type"]])
        assert fits(event["detail"]["data"]["status"], pattern["detail"]["data"]["status"])


@pytest.mark.parametrize("name", ["notify/job-succeeded", "notify/whole-job"])
def test_changes_of_jobs_pass_the_filter_of_the_stream(name: str) -> None:
    (mapping,) = [one for one in load().of("Lambda::EventSourceMapping") if one.id == "NotifyFunctionJobs"]
    (one,) = mapping.properties["FilterCriteria"]["Filters"]
    pattern = json.loads(one["Pattern"])

    for record in sample(name)["Records"]:
        assert record["eventName"] in pattern["eventName"]
        assert record["dynamodb"]["Keys"]["sk"]["S"] in pattern["dynamodb"]["Keys"]["sk"]["S"]


@pytest.mark.parametrize("name", ["admin/schedule", "sweep/schedule"])
def test_ticks_are_told_apart_by_their_source(name: str) -> None:
    assert sample(name)["source"] == "aws.events"


def fits(value: str, conditions: list[Any]) -> bool:
    """EventBridge's patterns, as far as ours use them: a value, or anything but some."""
    return any(
        value not in one["anything-but"] if isinstance(one, dict) else value == one for one in conditions
    )
