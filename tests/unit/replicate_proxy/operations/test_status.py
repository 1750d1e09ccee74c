"""What operators see of the queues, and of Replicate by account."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from replicate_proxy.aws.queue_ages import CloudWatchQueueAges
from replicate_proxy.aws.secrets import SsmParameter
from replicate_proxy.errors import ConfigurationError, RetryableError
from replicate_proxy.jobs.model import EndReason, JobStatus
from replicate_proxy.operations.dead_letters import DeadLetter
from replicate_proxy.replicate_api.rate_limit import RateLimit, RateLimiter
from tests.support.accounts import SHARED_TOKEN
from tests.support.aws import create_in_memory_aws
from tests.support.builders import make_job
from tests.support.clock import NOW, FakeClock
from tests.support.control_table import build_control_table

if TYPE_CHECKING:
    from typing import Any

    from tests.support.admin_api import AdminApi

REGION = "eu-central-1"


def put_message(admin_api: AdminApi, url: str) -> None:
    dead_letter = DeadLetter(id=f"in {url}", receipt_handle="r", body="{}", sent_at=NOW, receive_count=1)
    admin_api.queues.messages[url] = [dead_letter]


def read_queues(admin_api: AdminApi) -> dict[str, dict[str, Any]]:
    status, body = admin_api.call("GET", "queues")
    assert status == 200
    return {queue["name"]: queue for queue in body["results"]}


def test_queues_show_depths_and_the_age_of_the_oldest_message(admin_api: AdminApi) -> None:
    put_message(admin_api, "q/dispatch")
    put_message(admin_api, "q/sweep-dead")
    admin_api.queue_ages.ages = {"dispatch": 90}

    queues = read_queues(admin_api)

    depth = {"waiting": 1, "in_flight": 0, "delayed": 0}
    assert queues["dispatch"]["messages"] == {**depth, "oldest_seconds": 90, "oldest_unknown_because": None}
    assert queues["dispatch"]["dead_letters"]["oldest_seconds"] is None
    assert queues["dispatch"]["dead_letters"]["oldest_unknown_because"] is None
    assert queues["sweep"]["messages"] is None
    assert queues["sweep"]["dead_letters"]["oldest_unknown_because"].startswith("CloudWatch has no value")


def test_ages_are_read_of_queues_with_messages_and_once_a_minute(admin_api: AdminApi) -> None:
    put_message(admin_api, "q/dispatch")
    admin_api.queue_ages.ages = {"dispatch": 90}

    read_queues(admin_api)
    read_queues(admin_api)

    assert admin_api.queue_ages.asked == ["dispatch"]


def test_depths_are_shown_while_ages_cannot_be_read(admin_api: AdminApi) -> None:
    put_message(admin_api, "q/dispatch")
    admin_api.queue_ages.error = RetryableError("cannot read metrics: Throttling")

    messages = read_queues(admin_api)["dispatch"]["messages"]

    assert (messages["waiting"], messages["oldest_seconds"]) == (1, None)
    assert messages["oldest_unknown_because"] == "cannot read metrics: Throttling"


@mock_aws
def test_age_is_the_newest_value_and_the_time_since() -> None:
    client = boto3.client("cloudwatch", region_name=REGION)
    clock = FakeClock(NOW.replace(second=0, microsecond=0))
    for minutes, seconds in ((5, 10.0), (2, 130.0)):
        client.put_metric_data(
            Namespace="AWS/SQS",
            MetricData=[
                {
                    "MetricName": "ApproximateAgeOfOldestMessage",
                    "Dimensions": [{"Name": "QueueName", "Value": "dispatch"}],
                    "Timestamp": clock.now() - timedelta(minutes=minutes),
                    "Value": seconds,
                }
            ],
        )

    assert CloudWatchQueueAges(client, clock).read(["empty", "dispatch"]) == {"dispatch": 250}


def read_accounts(admin_api: AdminApi) -> dict[str | None, dict[str, Any]]:
    status, body = admin_api.call("GET", "replicate")
    assert status == 200
    assert body["is_complete"] is True
    return {account["tenant"]: account for account in body["accounts"]}


def test_every_account_has_its_state(admin_api: AdminApi) -> None:
    admin_api.accounts.names["r8_own_token_of_acme"] = "acme-corp"
    admin_api.call("PUT", "tenants/acme/replicate-token", {"token": "r8_own_token_of_acme"})

    accounts = read_accounts(admin_api)

    assert accounts[None]["replicate_account"] == "deployment"
    assert accounts["acme"]["replicate_account"] == "acme-corp"
    assert {account["token"]["state"] for account in accounts.values()} == {"valid"}
    assert accounts[None]["creates"] == {
        "limit_per_minute": 570.0,
        "burst": 60,
        "remaining": 60,
        "retry_at": None,
        "reduced_until": None,
    }
    assert accounts[None]["reads"]["retry_at"] is not None
    assert accounts[None]["breaker"]["state"] == "closed"
    assert accounts[None]["webhook_secret_since"] == "2026-01-31T09:30:00.000Z"
    assert "r8_" not in str(admin_api.call("GET", "replicate"))


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "rejected"),
        (RetryableError("Replicate does not answer"), "unknown"),
        (ConfigurationError("no token"), "missing"),
    ],
)
def test_token_that_is_not_valid_has_a_reason(
    admin_api: AdminApi, error: Exception | None, state: str
) -> None:
    admin_api.accounts.names.pop(SHARED_TOKEN)
    admin_api.accounts.error = error

    token = read_accounts(admin_api)[None]["token"]

    assert token["state"] == state
    assert token["reason"]


def test_token_is_tried_once_a_minute_and_not_while_the_breaker_is_open(admin_api: AdminApi) -> None:
    read_accounts(admin_api)
    admin_api.accounts.error = RetryableError("asked again")
    assert read_accounts(admin_api)[None]["token"]["state"] == "valid"

    admin_api.call("POST", "breaker/trip", {})
    status = admin_api.replicate_status
    status._checks.put("token", status._checks.find("token"), 0)  # type: ignore[arg-type] # it was found above

    assert read_accounts(admin_api)[None]["token"]["state"] == "valid"


def test_token_that_was_rejected_is_unknown_while_the_breaker_is_open(admin_api: AdminApi) -> None:
    """It may be replaced since: an outage of Replicate must not look like a bad token."""
    name = admin_api.accounts.names.pop(SHARED_TOKEN)
    assert read_accounts(admin_api)[None]["token"]["state"] == "rejected"
    admin_api.accounts.names[SHARED_TOKEN] = name
    admin_api.call("POST", "breaker/trip", {})
    status = admin_api.replicate_status
    status._checks.put("token", status._checks.find("token"), 0)  # type: ignore[arg-type] # it was found above

    token = read_accounts(admin_api)[None]["token"]

    assert token["state"] == "unknown"
    assert token["reason"] == "the circuit breaker is open by admin; rejected at 2026-01-31T09:30:00.000Z"


def test_last_failed_predictions_are_listed(admin_api: AdminApi) -> None:
    job = make_job(JobStatus.FAILED, created_at=NOW, error="no credit", end_reason=EndReason.NO_CREDIT)
    admin_api.jobs.create(job)

    _, body = admin_api.call("GET", "replicate")

    (failed,) = body["last_failed"]
    assert (failed["id"], failed["error_class"], failed["error"]) == (job.id, "no_credit", "no credit")


def test_rate_limit_shows_what_is_left_and_when_to_try_again() -> None:
    clock = FakeClock()
    table = build_control_table(create_in_memory_aws().client("dynamodb"))
    limiter = RateLimiter(table, "creates", RateLimit(60, 3), clock)
    assert (limiter.read_state().remaining, limiter.read_state().retry_at) == (3, None)

    for _ in range(3):
        assert limiter.acquire_slot() == 0
    used_up = limiter.read_state()
    assert (used_up.remaining, used_up.retry_at) == (0, clock.now() + timedelta(seconds=1))

    clock.advance(1)
    assert limiter.read_state().remaining == 1
    limiter.reduce_limit(6, for_seconds=60)
    reduced = limiter.read_state()
    assert (reduced.limit_per_minute, reduced.remaining) == (6.0, 0)
    assert reduced.reduced_until == clock.now() + timedelta(seconds=60)


@mock_aws
def test_parameter_tells_when_it_was_written() -> None:
    parameter = SsmParameter(boto3.client("ssm", region_name=REGION), "/proxy/secret")
    assert parameter.read_modified_at() is None
    parameter.write("whsec_x")
    assert parameter.read_modified_at() is not None
