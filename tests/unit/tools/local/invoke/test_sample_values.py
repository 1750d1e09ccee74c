import json
from datetime import UTC, datetime
from typing import Any

import pytest

from replicate_proxy import signing
from replicate_proxy.replicate_api.callback_url import CallbackUrls
from tools.local.invoke.sample_values import (
    SAMPLE_JOB,
    SAMPLE_KEY,
    SAMPLE_PREDICTION,
    SAMPLE_TENANT,
    SampleValues,
    fill_in,
)
from tools.local.paths import ROOT

NOW = datetime(2027, 5, 1, 12, 0, 0, tzinfo=UTC)
VALUES = SampleValues(
    now=NOW,
    tenant="other-tenant",
    job_id="01zzzzzzzzzzzzzzzzzzzzzzzz",
    prediction_id="prediction-of-the-stack",
    file_url="http://127.0.0.1:1/out-0.webp",
    version="v" * 64,
    webhook_url="http://127.0.0.1:2/webhooks",
    api_key="rp_key_of_the_stack",
    webhook_secret="whsec_c3RhY2s=",
    root_secret=b"root",
)


def fill_in_sample(name: str, values: SampleValues = VALUES) -> Any:
    return json.loads(fill_in((ROOT / f"events/{name}.json").read_text("utf-8"), values))


@pytest.mark.parametrize(
    "path", sorted((ROOT / "events").glob("*/*.json")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_no_sample_keeps_a_value_that_no_stack_has(path: Any) -> None:
    text = fill_in(path.read_text("utf-8"), VALUES)

    assert not [value for value in (SAMPLE_JOB, SAMPLE_PREDICTION, SAMPLE_KEY) if value in text]
    assert f'"{SAMPLE_TENANT}"' not in text
    assert "2026-01-31T09:30" not in text


@pytest.mark.parametrize("name", ["completed", "failed", "aborted", "started", "invalid_json"])
def test_valid_webhook_is_signed_with_the_stacks_secrets(name: str) -> None:
    event = fill_in_sample(f"webhook/{name}")

    attempt = CallbackUrls("", VALUES.root_secret).parse_query(event["queryStringParameters"])
    assert attempt is not None
    assert (attempt.tenant, attempt.job_id) == (VALUES.tenant, VALUES.job_id)
    assert is_signed(event)
    assert int(event["headers"]["Webhook-Timestamp"]) == NOW.timestamp()
    assert event["multiValueHeaders"]["Webhook-Signature"] == [event["headers"]["Webhook-Signature"]]
    assert event["multiValueQueryStringParameters"]["sig"] == [event["queryStringParameters"]["sig"]]


def test_forged_webhook_stays_forged() -> None:
    event = fill_in_sample("webhook/forged")

    assert not is_signed(event)
    assert int(event["headers"]["Webhook-Timestamp"]) == NOW.timestamp()


def test_stale_webhook_stays_an_hour_old() -> None:
    event = fill_in_sample("webhook/stale")

    assert is_signed(event)
    assert int(event["headers"]["Webhook-Timestamp"]) == NOW.timestamp() - 3600


def test_webhook_to_the_url_of_another_job_stays_invalid() -> None:
    event = fill_in_sample("webhook/wrong_job")

    assert CallbackUrls("", VALUES.root_secret).parse_query(event["queryStringParameters"]) is None
    assert is_signed(event)


def test_unsigned_webhook_stays_unsigned() -> None:
    assert "Webhook-Signature" not in fill_in_sample("webhook/unsigned")["headers"]


def test_report_is_as_old_as_in_the_sample() -> None:
    body = json.loads(fill_in_sample("harvest/completed")["Records"][0]["body"])

    assert body["detail"]["data"]["received_at"] == "2027-05-01T12:00:00.000Z"
    assert body["detail"]["data"]["prediction"]["completed_at"] == "2027-05-01T11:59:58.375Z"
    assert body["detail"]["data"]["prediction"]["output"] == [VALUES.file_url]


def is_signed(event: Any) -> bool:
    return signing.webhook_signature_matches(
        [VALUES.webhook_secret],
        message_id=event["headers"]["Webhook-Id"],
        timestamp=int(event["headers"]["Webhook-Timestamp"]),
        body=event["body"].encode(),
        header=event["headers"]["Webhook-Signature"],
    )
