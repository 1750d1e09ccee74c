"""Token and webhook secret of Replicate change without a deployment; no event is lost or sent twice."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from replicate_proxy.aws.job_store import DynamoJobStore
from tests.integration.api_client import ApiClient
from tools.local.configuration import SECRET_PARAMETER, TOKEN_PARAMETER
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient

NEW_TOKEN = "r8_rotated"
NEW_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
# When Replicate rejects a token, a function reads it again only if it read it more than five seconds ago.
# Otherwise it requeues the message with a delay of a minute.
REFRESH_SECONDS = 5.5


@pytest.fixture
def ssm(stack: Stack) -> Iterator[Any]:
    """A client of the parameter store; both parameters are restored after the test."""
    client = stack.get_client("ssm")
    original_values = {
        name: client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        for name in (TOKEN_PARAMETER, SECRET_PARAMETER)
    }
    yield client
    for name, value in original_values.items():
        client.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
    time.sleep(REFRESH_SECONDS)


def _is_reported_by_webhook(stack: Stack, api: ApiClient) -> bool:
    """Run a job and return whether Replicate's webhook reported its end."""
    job_id = api.run("local/lab", {"output": "done"})["id"]
    store = DynamoJobStore(stack.get_client("dynamodb"), stack.outputs["JobsTableName"])
    job = store.get(api.tenant, job_id)
    return job is not None and job.report_channel == "webhook"


def test_new_token_is_used_when_the_parameter_changes(
    api: ApiClient, simulator: SimulatorClient, ssm: Any
) -> None:
    assert api.run("local/lab", {"output": "with the first token"})["status"] == "succeeded"
    time.sleep(REFRESH_SECONDS)
    ssm.put_parameter(Name=TOKEN_PARAMETER, Value=NEW_TOKEN, Type="SecureString", Overwrite=True)
    simulator.change_settings(token=NEW_TOKEN)

    job = api.run("local/lab", {"output": "with the second"})

    assert job["status"] == "succeeded"
    assert simulator.get_stats()["predictions_by_job"][job["id"]] == 1


@pytest.mark.usefixtures("ssm")
def test_both_webhook_secrets_are_valid_after_a_rotation(
    stack: Stack, api: ApiClient, simulator: SimulatorClient
) -> None:
    first_secret = simulator.change_settings()["webhook_secret"]
    assert _is_reported_by_webhook(stack, api)
    simulator.change_settings(webhook_secret=NEW_SECRET)

    # The schedule does the same every hour.
    operator = ApiClient(stack.api_url, stack.admin_key)
    response = operator.call("POST", "/admin/webhook-secret/refresh", {})
    assert response.json() == {"changed": True, "valid_count": 2}

    assert _is_reported_by_webhook(stack, api)
    simulator.change_settings(webhook_secret=first_secret)
    assert _is_reported_by_webhook(stack, api)
