"""The sample events fit the template and the contracts: each looks like what AWS would deliver."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from replicate_proxy import signing
from replicate_proxy.contracts.commands import DispatchCommand
from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.errors import PermanentError
from replicate_proxy.replicate_api.callback_url import CallbackUrls
from tests.template.rules.api import OPEN_ROUTES, iterate_methods
from tools.template.stack import ROOT, load_stack, referenced_id

EVENTS = ROOT / "events"
SAMPLES = sorted(f"{path.parent.name}/{path.stem}" for path in EVENTS.glob("*/*.json"))
# The next three are documented in events/README.md.
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ROOT_SECRET = ("r" * 64).encode()
NOW = 1769851805
INVALID_WEBHOOKS = {"webhook/forged", "webhook/stale", "webhook/unsigned"}
POISONED_MESSAGES = {"dispatch/poison", "dispatch/batch_with_poison", "track/poison", "harvest/poison"}
_CREDENTIAL = re.compile(r"r8_[A-Za-z0-9]{37}|AKIA[A-Z0-9]{16}|whsec_(?!MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw)")


def load_sample(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def list_samples(*functions: str) -> list[str]:
    return [name for name in SAMPLES if name.split("/")[0] in functions]


def list_http_requests() -> list[str]:
    """Return the samples that API Gateway sends to a function other than the authorizer."""
    return [
        name
        for name in SAMPLES
        if "httpMethod" in load_sample(name) and load_sample(name).get("type") != "REQUEST"
    ]


def get_functions_by_route() -> dict[tuple[str, str], str]:
    functions = {}
    for method, path, definition in iterate_methods(load_stack()):
        uri = definition["x-amazon-apigateway-integration"]["uri"]
        functions[method.upper(), path] = referenced_id(uri).removesuffix("Function").lower()
    return functions


def matches_pattern(value: str, conditions: list[Any]) -> bool:
    """Evaluate the EventBridge patterns that the template uses: a value, or anything but some values."""
    return any(
        value not in condition["anything-but"] if isinstance(condition, dict) else value == condition
        for condition in conditions
    )


def test_every_function_has_samples() -> None:
    functions = {
        function.id.removesuffix("Function").lower() for function in load_stack().of_type("Lambda::Function")
    }

    assert {name.split("/")[0] for name in SAMPLES} == functions


def test_index_lists_every_sample() -> None:
    listed = re.findall(r"\]\((\S+)\.json\)", (EVENTS / "README.md").read_text(encoding="utf-8"))

    assert sorted(listed) == SAMPLES


@pytest.mark.parametrize("name", list_http_requests())
def test_request_matches_a_route_of_its_function(name: str) -> None:
    event = load_sample(name)
    route = (event["httpMethod"], event["resource"])

    assert get_functions_by_route()[route] == name.split("/", maxsplit=1)[0]
    assert event["requestContext"]["resourcePath"] == event["resource"]
    if (route[0].lower(), route[1]) in OPEN_ROUTES:
        assert "authorizer" not in event["requestContext"]


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_contains_no_credential(name: str) -> None:
    assert _CREDENTIAL.search((EVENTS / f"{name}.json").read_text(encoding="utf-8")) is None


@pytest.mark.parametrize("name", list_samples("webhook"))
def test_webhook_is_signed_and_fresh_unless_meant_to_be_invalid(name: str) -> None:
    event = load_sample(name)
    headers = {key.lower(): value for key, value in event["headers"].items()}
    timestamp = int(headers["webhook-timestamp"])
    signed = signing.webhook_signature_matches(
        [WEBHOOK_SECRET],
        message_id=headers["webhook-id"],
        timestamp=timestamp,
        body=event["body"].encode(),
        header=headers.get("webhook-signature", ""),
    )

    fresh = abs(NOW - timestamp) <= signing.WEBHOOK_TOLERANCE_SECONDS
    assert (signed and fresh) is (name not in INVALID_WEBHOOKS)


@pytest.mark.parametrize("name", list_samples("webhook"))
def test_callback_url_of_webhook_names_the_sample_job(name: str) -> None:
    job = CallbackUrls("", ROOT_SECRET).parse_query(load_sample(name)["queryStringParameters"])

    assert (job is None) is (name == "webhook/wrong_job")
    assert job is None or (job.tenant, job.job_id) == ("acme", "01kgahp2x3m4n5p6q7r8s9t0va")


@pytest.mark.parametrize("name", list_samples("dispatch", "track", "harvest"))
def test_message_is_readable_unless_poisoned(name: str) -> None:
    read = DispatchCommand.from_json if name.startswith("dispatch/") else PredictionReport.from_queue_message
    failures = 0
    for record in load_sample(name)["Records"]:
        try:
            read(record["body"])
        except PermanentError:
            failures += 1

    assert (failures > 0) is (name in POISONED_MESSAGES)


@pytest.mark.parametrize(
    "name", [name for name in list_samples("track", "harvest") if name not in POISONED_MESSAGES]
)
def test_event_matches_the_rule_that_leads_to_its_queue(name: str) -> None:
    queue = f"{name.split('/', maxsplit=1)[0].title()}Queue"
    (rule,) = [
        rule
        for rule in load_stack().of_type("Events::Rule")
        if referenced_id(rule.properties["Targets"][0]["Arn"]) == queue
    ]
    pattern = rule.properties["EventPattern"]

    for record in load_sample(name)["Records"]:
        event = json.loads(record["body"])
        assert event["source"] in pattern["source"]
        assert event["detail-type"] in pattern.get("detail-type", [event["detail-type"]])
        assert matches_pattern(event["detail"]["data"]["status"], pattern["detail"]["data"]["status"])


@pytest.mark.parametrize("name", ["notify/job_succeeded", "notify/full_job"])
def test_job_change_passes_the_filter_of_the_stream(name: str) -> None:
    mapping = load_stack().resources["NotifyFunctionJobs"]
    (stream_filter,) = mapping.properties["FilterCriteria"]["Filters"]
    pattern = json.loads(stream_filter["Pattern"])

    for record in load_sample(name)["Records"]:
        assert record["eventName"] in pattern["eventName"]
        assert record["dynamodb"]["Keys"]["sk"]["S"] in pattern["dynamodb"]["Keys"]["sk"]["S"]


@pytest.mark.parametrize("name", ["admin/schedule", "sweep/schedule"])
def test_schedule_event_has_the_source_of_eventbridge(name: str) -> None:
    assert load_sample(name)["source"] == "aws.events"
