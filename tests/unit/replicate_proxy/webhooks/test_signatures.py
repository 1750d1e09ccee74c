"""What we send is accepted by the real packages that receivers use, and nothing else is."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given, settings
from hypothesis import strategies as st
from replicate.webhook import InvalidSignatureError, Webhooks, WebhookSigningSecret

from replicate_proxy.jobs.model import Document
from replicate_proxy.signing import sign_webhook
from replicate_proxy.webhooks.signing_secrets import (
    generate_signing_secret,
    live_secrets,
    rotate_secrets,
)
from tests.support.webhook_builders import TENANT, as_succeeded, make_endpoint, make_job
from tests.support.webhook_fakes import ReceivedRequest, refuse_connection, respond
from tests.support.webhook_simulation import WebhookSimulation

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.webhooks.sender import ReceiverResponse

ROOT = Path(__file__).parents[4]
NODE_MODULES = ROOT / "tests/integration/clients_js/node_modules"
NOW = datetime.now(UTC)

type Verify = Callable[[str, dict[str, str], bytes], Any]


def by_standardwebhooks(secret: str, headers: dict[str, str], body: bytes) -> Any:
    return standardwebhooks.Webhook(secret).verify(body, headers)


def by_svix(secret: str, headers: dict[str, str], body: bytes) -> Any:
    return svix.webhooks.Webhook(secret).verify(body, headers)


def by_replicate_headers(secret: str, headers: dict[str, str], body: bytes) -> Any:
    Webhooks.validate(
        headers=headers, body=body.decode(), secret=WebhookSigningSecret(key=secret), tolerance=300
    )


def by_replicate_request(secret: str, headers: dict[str, str], body: bytes) -> Any:
    request = httpx.Request("POST", "https://app.example/hook", headers=headers, content=body)
    Webhooks.validate(request, secret=WebhookSigningSecret(key=secret), tolerance=300)


def by_replicate_javascript(secret: str, headers: dict[str, str], body: bytes) -> Any:
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "replicate").is_dir():
        pytest.skip("NOT CHECKED: npm replicate's validateWebhook; needs node and `make clients-js`")
    script = """
      const { validateWebhook } = require("replicate");
      const given = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
      validateWebhook(given).then((ok) => process.exit(ok ? 0 : 3), () => process.exit(4));
    """
    given = {
        "id": headers["webhook-id"],
        "timestamp": headers["webhook-timestamp"],
        "signature": headers["webhook-signature"],
        "body": body.decode(),
        "secret": secret,
    }
    done = subprocess.run(
        [node, "-e", script],
        input=json.dumps(given).encode(),
        env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise ValueError(f"validateWebhook said no: {done.returncode}")


PYTHON = [by_standardwebhooks, by_svix, by_replicate_headers, by_replicate_request]
ALL = [*PYTHON, by_replicate_javascript]


def sent(world: WebhookSimulation) -> ReceivedRequest:
    job = make_job(
        webhook_events=("completed",), input=Document(text=json.dumps({"prompt": "Ærø ☂ 漢字 \U0001f5fc"}))
    )
    world.apply_changes((job, as_succeeded(job)))
    world.run_for()
    return world.receiver.accepted[-1]


@pytest.mark.parametrize("verify", ALL)
def test_the_webhook_of_a_prediction_verifies_with_the_tenants_secret(verify: Verify) -> None:
    world = WebhookSimulation(start=NOW)
    request = sent(world)
    verify(world.secrets.get_or_create(TENANT, now=NOW)[0].text, dict(request.headers), request.body)


@pytest.mark.parametrize("verify", ALL)
def test_another_secret_does_not_verify(verify: Verify) -> None:
    request = sent(WebhookSimulation(start=NOW))
    with pytest.raises(
        (
            standardwebhooks.WebhookVerificationError,
            svix.webhooks.WebhookVerificationError,
            InvalidSignatureError,
            ValueError,
        )
    ):
        verify(generate_signing_secret(NOW).text, dict(request.headers), request.body)


@pytest.mark.parametrize("verify", PYTHON)
def test_a_changed_body_does_not_verify(verify: Verify) -> None:
    world = WebhookSimulation(start=NOW)
    request = sent(world)
    forged = request.body.replace(b"succeeded", b"failed...", 1)
    assert forged != request.body
    with pytest.raises(
        (
            standardwebhooks.WebhookVerificationError,
            svix.webhooks.WebhookVerificationError,
            InvalidSignatureError,
        )
    ):
        verify(world.secrets.get_or_create(TENANT, now=NOW)[0].text, dict(request.headers), forged)


@pytest.mark.parametrize("verify", ALL)
def test_during_the_grace_of_a_rotation_both_secrets_verify(verify: Verify) -> None:
    world = WebhookSimulation(start=NOW)
    old = world.secrets.get_or_create(TENANT, now=NOW)
    world.secrets.secrets[TENANT] = rotate_secrets(old, now=NOW, overlap=timedelta(days=1))
    request = sent(world)

    assert len(request.headers["webhook-signature"].split()) == 2
    for secret in world.secrets.secrets[TENANT]:
        verify(secret.text, dict(request.headers), request.body)


def test_after_the_grace_the_old_secret_signs_no_more() -> None:
    world = WebhookSimulation(start=NOW)
    old = world.secrets.get_or_create(TENANT, now=NOW)
    past = NOW - timedelta(days=2)
    world.secrets.secrets[TENANT] = rotate_secrets(old, now=past, overlap=timedelta(days=1))
    request = sent(world)

    assert len(request.headers["webhook-signature"].split()) == 1
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        by_standardwebhooks(old[0].text, dict(request.headers), request.body)


def test_an_endpoint_has_its_own_secret() -> None:
    world = WebhookSimulation(start=NOW)
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    job = make_job(webhook=None)
    world.apply_changes((job, as_succeeded(job)))
    world.run_for()

    (request,) = world.receiver.accepted
    by_standardwebhooks(endpoint.secrets[0].text, dict(request.headers), request.body)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        by_standardwebhooks(
            world.secrets.get_or_create(TENANT, now=NOW)[0].text, dict(request.headers), request.body
        )


def test_a_retry_is_signed_for_its_own_time() -> None:
    # The fifth attempt comes 2 h 35 min after the first.
    world = WebhookSimulation(start=NOW - timedelta(hours=2, minutes=37))
    job = make_job(webhook_events=("completed",))
    world.receiver.behavior = _down_until(NOW - timedelta(minutes=4))
    world.apply_changes((job, as_succeeded(job)))
    world.run_for(9420)

    (request,) = world.receiver.accepted
    assert request.received_at > NOW - timedelta(minutes=5)
    by_standardwebhooks(
        world.secrets.get_or_create(TENANT, now=NOW)[0].text, dict(request.headers), request.body
    )


def _down_until(moment: datetime) -> Callable[[ReceivedRequest], ReceiverResponse]:
    return lambda request: respond(200) if request.received_at >= moment else refuse_connection()


def test_secrets_are_32_random_bytes_in_standard_base64() -> None:
    secrets = [generate_signing_secret(NOW).text for _ in range(50)]
    assert len(set(secrets)) == 50
    for secret in secrets:
        assert secret.startswith("whsec_")
        # Replicate's Python validator splits the text at `_`.
        assert len(secret.split("_")) == 2
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert "whsec" not in repr(generate_signing_secret(NOW))


def test_a_rotation_keeps_nothing_alive_for_longer_than_it_had() -> None:
    first = (generate_signing_secret(NOW),)
    second = rotate_secrets(first, now=NOW, overlap=timedelta(hours=1))
    third = rotate_secrets(second, now=NOW, overlap=timedelta(days=7))

    assert [secret.expires_at for secret in third] == [
        None,
        NOW + timedelta(days=7),
        NOW + timedelta(hours=1),
    ]
    at_once = rotate_secrets(third, now=NOW, overlap=timedelta())
    assert len(live_secrets(at_once, NOW)) == 1
    with pytest.raises(ValueError, match="0 to 7 days"):
        rotate_secrets(first, now=NOW, overlap=timedelta(days=8))


@settings(max_examples=200)
@given(
    key=st.binary(min_size=24, max_size=64),
    body=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200),
    age=st.integers(-250, 250),
)
def test_any_secret_and_body_verify(key: bytes, body: str, age: int) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    timestamp = int(datetime.now(UTC).timestamp()) - age
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign_webhook([secret], "msg_1", timestamp, body.encode()),
    }
    standardwebhooks.Webhook(secret).verify(body.encode(), headers, json_parse=False)
