"""The admin function's sample events through its handler, with keys and queues on moto."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import responses

from functions.admin import app
from functions.authorize import app as authorize
from replicate_proxy.audit.actor import acting_as
from replicate_proxy.audit.model import Actor
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.bootstrap.admin import build_account_service, build_admin_services
from replicate_proxy.jobs.job_filter import JobFilter
from replicate_proxy.jobs.model import EndReason, JobStatus
from replicate_proxy.operations.bulk.model import BulkAction, BulkStatus
from tests.support.aws import (
    CONTROL_TABLE,
    DELIVERIES_TABLE,
    JOBS_TABLE,
    create_control_table,
    create_jobs_table,
)
from tests.support.builders import make_job
from tests.support.handlers import CONTEXT, aws_account, load_event

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "whsec_" + "A" * 32


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    variables = {
        "CONTROL_TABLE": CONTROL_TABLE,
        "DELIVERIES_TABLE": DELIVERIES_TABLE,
        "REPLICATE_PROXY_TABLE": JOBS_TABLE,
        "EVENT_BUS": "proxy",
        "REPLICATE_API_TOKEN": "/replicate-proxy/prod/replicate-api-token",
        "REPLICATE_WEBHOOK_SECRET": "/replicate-proxy/prod/replicate-webhook-secret",
        "TENANT_TOKENS_PREFIX": "/replicate-proxy/prod/tenant-tokens",
        "TENANT_WEBHOOK_SECRETS_PREFIX": "/replicate-proxy/prod/tenant-webhook-secrets",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with aws_account(monkeypatch):
        create_control_table()
        yield


def call(name: str) -> tuple[int, Any]:
    response = app.lambda_handler(load_event(f"admin/{name}"), CONTEXT)
    assert response is not None
    return response["statusCode"], json.loads(response["body"])


def test_created_key_is_accepted_by_authorizer() -> None:
    status, created = call("create_key")
    assert status == 201
    event = load_event("authorize/api_key")
    event["multiValueHeaders"]["Authorization"] = [f"Bearer {created['key']}"]
    assert authorize.lambda_handler(event, CONTEXT)["context"]["tenant"] == "acme"
    assert [key["id"] for key in call("list_keys")[1]["results"]] == [created["id"]]


def test_create_key_names_invalid_fields() -> None:
    status, problem = call("create_key_invalid")
    assert status == 422
    assert [field["field"] for field in problem["invalid_fields"]] == ["tenant", "allowed_ips.0"]


def test_key_without_admin_scope_is_forbidden() -> None:
    assert call("missing_scope")[0] == 403


def test_redrive_moves_dead_letter_to_its_queue() -> None:
    sqs = boto3.client("sqs")
    body = json.dumps({"kind": "submit", "tenant": "acme", "job_id": "j1", "correlation_id": ""})
    sqs.send_message(QueueUrl=f"{os.environ['QUEUES_PREFIX']}dispatch-dead-letters", MessageBody=body)
    _, queues = call("queues")
    assert {queue["name"]: queue["dead_letters"]["waiting"] for queue in queues["results"]}["dispatch"] == 1
    assert call("redrive") == (200, {"handled": 1, "skipped": 0, "done": True})
    (message,) = sqs.receive_message(QueueUrl=os.environ["DISPATCH_QUEUE_URL"])["Messages"]
    assert message["Body"] == body


def test_breaker_is_closed_initially() -> None:
    status, view = call("breaker")
    assert (status, view["state"]) == (200, "closed")


def test_schedule_refreshes_replicates_webhook_secret() -> None:
    ssm = boto3.client("ssm")
    ssm.put_parameter(Name=os.environ["REPLICATE_API_TOKEN"], Value="r8_ours", Type="SecureString")
    with responses.RequestsMock() as replicate:
        replicate.get("https://api.replicate.com/v1/webhooks/default/secret", json={"key": SECRET})
        assert app.lambda_handler(load_event("admin/schedule"), CONTEXT) is None
    parameter = ssm.get_parameter(Name=os.environ["REPLICATE_WEBHOOK_SECRET"], WithDecryption=True)
    assert parameter["Parameter"]["Value"] == SECRET


def test_worker_retries_what_a_bulk_operation_lists() -> None:
    create_jobs_table()
    boto3.client("events").create_event_bus(Name="proxy")
    jobs = DynamoJobStore(boto3.client("dynamodb"), JOBS_TABLE)
    failed = make_job(JobStatus.FAILED, end_reason=EndReason.REPORTED)
    jobs.create(failed)
    status, preview = call("count_bulk_operation")
    assert (status, preview["matched"]) == (200, 1)
    with acting_as(Actor(key_id="operator")):
        build_admin_services().bulk.start(BulkAction.RETRY, JobFilter(tenant="acme"), 1)

    assert app.lambda_handler(load_event("admin/continue_bulk_operations"), CONTEXT) is None

    (operation,) = build_admin_services().bulk.list_newest(before_id=None, limit=10)
    assert (operation.status, operation.done) == (BulkStatus.SUCCEEDED, 1)
    stored = jobs.get("acme", failed.id)
    assert stored is not None
    assert stored.retried_as is not None
    assert jobs.get("acme", stored.retried_as) is not None


def test_schedule_refreshes_the_webhook_secrets_of_tenants_accounts() -> None:
    ssm = boto3.client("ssm")
    url = "https://api.replicate.com/v1"
    with responses.RequestsMock() as replicate:
        replicate.get(f"{url}/account", json={"username": "acme-corp"})
        replicate.get(f"{url}/webhooks/default/secret", json={"key": SECRET})
        with acting_as(Actor(key_id="operator")):
            assert build_account_service().put("acme", "r8_TheTokenOfAcme").current is not None
    new_secret = SECRET[:-1] + "B"
    with responses.RequestsMock() as replicate:
        headers = {"Authorization": "Bearer r8_TheTokenOfAcme"}
        replicate.get(
            f"{url}/webhooks/default/secret",
            json={"key": new_secret},
            match=[responses.matchers.header_matcher(headers)],
        )
        assert app.lambda_handler(load_event("admin/maintain_accounts"), CONTEXT) is None
    name = "/replicate-proxy/prod/tenant-webhook-secrets/acme/acme-corp"
    parameter = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    assert parameter["Value"].split() == [new_secret, SECRET]
    assert parameter["Type"] == "SecureString"
