"""Signatures are accepted by the libraries that receivers use, and only with the right secret and body."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given, settings
from hypothesis import strategies as st
from replicate.webhook import InvalidSignatureError, Webhooks, WebhookSigningSecret

from replicate_proxy.errors import ApiError
from replicate_proxy.jobs.model import Document
from replicate_proxy.signing import sign_webhook
from replicate_proxy.webhooks.signing_secrets import (
    MAX_SECRETS,
    SigningSecret,
    generate_signing_secret,
    rotate_secrets,
    select_live_secrets,
)
from tests.support.delivery_pipeline import DeliveryPipeline
from tests.support.example_receivers import NODE_MODULES
from tests.support.webhook_builders import TENANT, make_endpoint
from tests.support.webhook_fakes import ReceivedRequest, refuse_connection, respond

if TYPE_CHECKING:
    from collections.abc import Callable

type Verify = Callable[[str, dict[str, str], bytes], Any]


@pytest.fixture
def real_now() -> datetime:
    """The machine's time: the libraries compare a timestamp with it and allow five minutes."""
    return datetime.now(UTC)


def verify_with_standardwebhooks(secret: str, headers: dict[str, str], body: bytes) -> Any:
    return standardwebhooks.Webhook(secret).verify(body, headers)


def verify_with_svix(secret: str, headers: dict[str, str], body: bytes) -> Any:
    return svix.webhooks.Webhook(secret).verify(body, headers)


def verify_with_replicate_headers(secret: str, headers: dict[str, str], body: bytes) -> Any:
    Webhooks.validate(
        headers=headers, body=body.decode(), secret=WebhookSigningSecret(key=secret), tolerance=300
    )


def verify_with_replicate_request(secret: str, headers: dict[str, str], body: bytes) -> Any:
    request = httpx.Request("POST", "https://app.example/hook", headers=headers, content=body)
    Webhooks.validate(request, secret=WebhookSigningSecret(key=secret), tolerance=300)


def verify_with_replicate_javascript(secret: str, headers: dict[str, str], body: bytes) -> Any:
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "replicate").is_dir():
        pytest.skip("NOT CHECKED: npm replicate's validateWebhook; needs node and `make clients-js`")
    script = """
      const { validateWebhook } = require("replicate");
      const webhook = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
      validateWebhook(webhook).then((isValid) => process.exit(isValid ? 0 : 3), () => process.exit(4));
    """
    webhook = {
        "id": headers["webhook-id"],
        "timestamp": headers["webhook-timestamp"],
        "signature": headers["webhook-signature"],
        "body": body.decode(),
        "secret": secret,
    }
    process = subprocess.run(
        [node, "-e", script],
        input=json.dumps(webhook).encode(),
        env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
        check=False,
        timeout=60,
    )
    if process.returncode:
        raise ValueError(f"validateWebhook rejected the webhook: {process.returncode}")


PYTHON_LIBRARIES = [
    verify_with_standardwebhooks,
    verify_with_svix,
    verify_with_replicate_headers,
    verify_with_replicate_request,
]
LIBRARIES = [*PYTHON_LIBRARIES, verify_with_replicate_javascript]
VERIFICATION_ERRORS = (
    standardwebhooks.WebhookVerificationError,
    svix.webhooks.WebhookVerificationError,
    InvalidSignatureError,
)


def deliver_completed(pipeline: DeliveryPipeline) -> ReceivedRequest:
    """Let a job succeed and return the request of its `completed` event."""
    pipeline.complete_job(input=Document(text=json.dumps({"prompt": "Ærø ☂ 漢字 \U0001f5fc"})))
    pipeline.run_for()
    return pipeline.receiver.accepted[-1]


def get_default_secret(pipeline: DeliveryPipeline) -> str:
    return pipeline.secrets.get_or_create(TENANT, now=pipeline.clock.now())[0].text


@pytest.mark.parametrize("verify", LIBRARIES)
def test_webhook_of_prediction_verifies_with_default_secret(real_now: datetime, verify: Verify) -> None:
    pipeline = DeliveryPipeline(start=real_now)
    request = deliver_completed(pipeline)
    verify(get_default_secret(pipeline), dict(request.headers), request.body)


@pytest.mark.parametrize("verify", LIBRARIES)
def test_other_secret_does_not_verify(real_now: datetime, verify: Verify) -> None:
    request = deliver_completed(DeliveryPipeline(start=real_now))
    with pytest.raises((*VERIFICATION_ERRORS, ValueError)):
        verify(generate_signing_secret(real_now).text, dict(request.headers), request.body)


@pytest.mark.parametrize("verify", PYTHON_LIBRARIES)
def test_changed_body_does_not_verify(real_now: datetime, verify: Verify) -> None:
    pipeline = DeliveryPipeline(start=real_now)
    request = deliver_completed(pipeline)
    forged_body = request.body.replace(b"succeeded", b"failed...", 1)
    assert forged_body != request.body
    with pytest.raises(VERIFICATION_ERRORS):
        verify(get_default_secret(pipeline), dict(request.headers), forged_body)


@pytest.mark.parametrize("verify", LIBRARIES)
def test_both_secrets_verify_during_rotation_overlap(real_now: datetime, verify: Verify) -> None:
    pipeline = DeliveryPipeline(start=real_now)
    old = pipeline.secrets.get_or_create(TENANT, now=real_now)
    secrets = rotate_secrets(old, now=real_now, overlap=timedelta(days=1))
    pipeline.secrets.replace(TENANT, old=old, new=secrets)
    request = deliver_completed(pipeline)

    assert len(request.headers["webhook-signature"].split()) == 2
    for secret in secrets:
        verify(secret.text, dict(request.headers), request.body)


def test_old_secret_does_not_sign_after_rotation_overlap(real_now: datetime) -> None:
    pipeline = DeliveryPipeline(start=real_now)
    old = pipeline.secrets.get_or_create(TENANT, now=real_now)
    secrets = rotate_secrets(old, now=real_now - timedelta(days=2), overlap=timedelta(days=1))
    pipeline.secrets.replace(TENANT, old=old, new=secrets)
    request = deliver_completed(pipeline)

    assert len(request.headers["webhook-signature"].split()) == 1
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify_with_standardwebhooks(old[0].text, dict(request.headers), request.body)


def test_endpoint_has_its_own_secret(real_now: datetime) -> None:
    pipeline = DeliveryPipeline(start=real_now)
    endpoint = make_endpoint(events=("completed",))
    pipeline.endpoints.create(endpoint)
    pipeline.complete_job(webhook=None)
    pipeline.run_for()

    (request,) = pipeline.receiver.accepted
    verify_with_standardwebhooks(endpoint.secrets[0].text, dict(request.headers), request.body)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verify_with_standardwebhooks(get_default_secret(pipeline), dict(request.headers), request.body)


def test_retry_is_signed_with_its_own_timestamp(real_now: datetime) -> None:
    # The fifth attempt comes 2 h 35 min after the first.
    pipeline = DeliveryPipeline(start=real_now - timedelta(hours=2, minutes=37))
    outage_end = real_now - timedelta(minutes=4)
    pipeline.receiver.behavior = lambda request: (
        respond(200) if request.received_at >= outage_end else refuse_connection()
    )
    pipeline.complete_job()
    pipeline.run_for(9420)

    (request,) = pipeline.receiver.accepted
    assert request.received_at > real_now - timedelta(minutes=5)
    verify_with_standardwebhooks(get_default_secret(pipeline), dict(request.headers), request.body)


def test_generated_secret_is_32_random_bytes_in_standard_base64(real_now: datetime) -> None:
    secrets = [generate_signing_secret(real_now).text for _ in range(50)]
    assert len(set(secrets)) == 50
    for secret in secrets:
        assert secret.startswith("whsec_")
        # Replicate's Python validator splits the text at `_`.
        assert len(secret.split("_")) == 2
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert "whsec" not in repr(generate_signing_secret(real_now))


def test_rotation_never_extends_the_life_of_a_secret(real_now: datetime) -> None:
    first = (generate_signing_secret(real_now),)
    second = rotate_secrets(first, now=real_now, overlap=timedelta(hours=1))
    third = rotate_secrets(second, now=real_now, overlap=timedelta(days=7))

    assert [secret.expires_at for secret in third] == [
        None,
        real_now + timedelta(days=7),
        real_now + timedelta(hours=1),
    ]
    without_overlap = rotate_secrets(third, now=real_now, overlap=timedelta())
    assert len(select_live_secrets(without_overlap, real_now)) == 1
    with pytest.raises(ValueError, match="0 to 7 days"):
        rotate_secrets(first, now=real_now, overlap=timedelta(days=8))


@settings(max_examples=200)
@given(
    key=st.binary(min_size=24, max_size=64),
    body=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200),
    age_seconds=st.integers(-250, 250),
)
def test_any_secret_and_body_verify(key: bytes, body: str, age_seconds: int) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    timestamp = int(datetime.now(UTC).timestamp()) - age_seconds
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign_webhook([secret], "msg_1", timestamp, body.encode()),
    }
    standardwebhooks.Webhook(secret).verify(body.encode(), headers, json_parse=False)


def test_rotation_that_would_end_an_overlap_early_is_refused(real_now: datetime) -> None:
    secrets: tuple[SigningSecret, ...] = (generate_signing_secret(real_now),)
    for _ in range(MAX_SECRETS - 1):
        secrets = rotate_secrets(secrets, now=real_now, overlap=timedelta(hours=1))

    with pytest.raises(ApiError, match="earlier secrets are valid"):
        rotate_secrets(secrets, now=real_now, overlap=timedelta(hours=1))

    assert len(select_live_secrets(secrets, real_now)) == MAX_SECRETS
    assert len(rotate_secrets(secrets, now=real_now, overlap=timedelta())) == 1
