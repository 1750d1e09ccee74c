"""Put the stack's own values in place of those that the samples of `events/` agree on. No I/O."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from replicate_proxy import signing
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.replicate_api.callback_url import CallbackUrls

SAMPLE_JOB = "01kgahp2x3m4n5p6q7r8s9t0va"
SAMPLE_PREDICTION = "4w3q8r5t6y7u1i2o3p4a5s6d7f"
SAMPLE_TENANT = "acme"
SAMPLE_KEY = "rp_sample234567_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg"
SAMPLE_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
SAMPLE_NOW = datetime.fromisoformat("2026-01-31T09:30:05Z")
# What signs the samples. The webhook secret is the test secret of the Standard Webhooks libraries.
SAMPLE_WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - published by the libraries
SAMPLE_ROOT_SECRET = b"r" * 64

SAMPLE_FILE = re.compile(r"https://replicate\.delivery/[^\"\\]+")
SAMPLE_WEBHOOK = re.compile(r"https://app\.example(?:\.com)?/[a-z/]+")
_WEBHOOK_ROUTE = "/webhooks/replicate"
_SAMPLE_TIME = re.compile(r"2026-01-31T\d\d:\d\d:\d\d(?:\.\d+)?Z")


@dataclass(frozen=True, kw_only=True)
class SampleValues:
    """Values of the stack; an empty text leaves the sample's value as it is."""

    now: datetime
    tenant: str
    job_id: str
    prediction_id: str = ""
    file_url: str = ""
    version: str = ""
    webhook_url: str = ""
    api_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    root_secret: bytes = field(repr=False)


def fill_in(sample: str, values: SampleValues) -> str:
    """Return the event, as JSON, with the stack's values, with current times and with valid signatures."""
    text = sample
    for sample_value, value in (
        (SAMPLE_JOB, values.job_id),
        (SAMPLE_PREDICTION, values.prediction_id),
        (SAMPLE_KEY, values.api_key),
        (SAMPLE_VERSION, values.version),
        (SAMPLE_TENANT, values.tenant),
    ):
        text = text.replace(sample_value, value or sample_value)
    text = SAMPLE_FILE.sub(values.file_url or r"\g<0>", text)
    text = SAMPLE_WEBHOOK.sub(values.webhook_url or r"\g<0>", text)
    text = _SAMPLE_TIME.sub(lambda time: _shift_time(time[0], values.now), text)
    event: dict[str, Any] = json.loads(text)
    if event.get("resource") == _WEBHOOK_ROUTE:
        _sign_again(event, json.loads(sample), values)
    return json.dumps(event)


def _shift_time(text: str, now: datetime) -> str:
    return format_timestamp(parse_timestamp(text) - SAMPLE_NOW + now)


def _sign_again(event: dict[str, Any], sample: Mapping[str, Any], values: SampleValues) -> None:
    """Sign URL and body with the stack's secrets where the sample is validly signed with its own."""
    query = event["queryStringParameters"]
    attempt = CallbackUrls("", SAMPLE_ROOT_SECRET).parse_query(sample["queryStringParameters"])
    if attempt is not None:
        signed = replace(attempt, tenant=values.tenant, job_id=values.job_id)
        url = CallbackUrls("", values.root_secret).build_url(signed)
        query |= {name: texts[0] for name, texts in parse_qs(urlsplit(url).query).items()}
        event["multiValueQueryStringParameters"] = {name: [text] for name, text in query.items()}
    headers = event["headers"]
    if "Webhook-Timestamp" in headers:
        age_seconds = SAMPLE_NOW.timestamp() - int(headers["Webhook-Timestamp"])
        timestamp = int(values.now.timestamp() - age_seconds)
        headers["Webhook-Timestamp"] = str(timestamp)
        if _is_signed(sample):
            headers["Webhook-Signature"] = signing.sign_webhook(
                [values.webhook_secret], headers["Webhook-Id"], timestamp, event["body"].encode()
            )
    event["multiValueHeaders"] = {name: [text] for name, text in headers.items()}


def _is_signed(sample: Mapping[str, Any]) -> bool:
    headers = sample["headers"]
    return signing.webhook_signature_matches(
        [SAMPLE_WEBHOOK_SECRET],
        message_id=headers.get("Webhook-Id", ""),
        timestamp=int(headers.get("Webhook-Timestamp", 0)),
        body=sample["body"].encode(),
        header=headers.get("Webhook-Signature", ""),
    )
