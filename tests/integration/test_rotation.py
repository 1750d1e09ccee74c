"""Replicate's secrets change while everything runs: no deployment, no event lost, nothing sent twice."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from replicate_proxy.aws.job_store import DynamoJobStore
from tests.integration.api import ApiClient
from tools.local.configuration import SECRET_PARAMETER, TOKEN_PARAMETER
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient

NEW_TOKEN = "r8_rotated"
NEW_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
# A function that read a secret less than five seconds ago does not read it again for a refusal; and where
# Replicate refuses the token, the message is parked for a minute.
READ_AGAIN_SECONDS = 5.5


@pytest.fixture
def parameters(stack: Stack) -> Iterator[Any]:
    """The deployment's parameters; afterwards they are as before."""
    ssm = stack.get_client("ssm")
    before = {
        name: ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        for name in (TOKEN_PARAMETER, SECRET_PARAMETER)
    }
    yield ssm
    for name, value in before.items():
        ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
    time.sleep(READ_AGAIN_SECONDS)


def test_changing_the_parameter_changes_the_token(
    stack: Stack, api: ApiClient, simulator: SimulatorClient, parameters: Any
) -> None:
    assert api.run("local/lab", {"output": "with the first token"})["status"] == "succeeded"
    time.sleep(READ_AGAIN_SECONDS)
    parameters.put_parameter(Name=TOKEN_PARAMETER, Value=NEW_TOKEN, Type="SecureString", Overwrite=True)
    simulator.change_settings(token=NEW_TOKEN)

    job = api.run("local/lab", {"output": "with the second"})

    assert job["status"] == "succeeded"
    assert simulator.get_stats()["predictions_by_job"][job["id"]] == 1


@pytest.mark.usefixtures("parameters")
def test_a_new_webhook_secret_is_taken_over_and_the_old_one_stays_good(
    stack: Stack, api: ApiClient, simulator: SimulatorClient
) -> None:
    first = simulator.change_settings()["webhook_secret"]
    assert _told_by_webhook(stack, api)
    simulator.change_settings(webhook_secret=NEW_SECRET)

    # As the schedule does it every hour.
    operator = ApiClient(stack.api_url, stack.admin_key, "operator")
    taken_over = operator.call("POST", "/admin/webhook-secret/refresh", {}).json()
    assert taken_over == {"changed": True, "valid_count": 2}

    assert _told_by_webhook(stack, api)
    simulator.change_settings(webhook_secret=first)
    assert _told_by_webhook(stack, api)


def _told_by_webhook(stack: Stack, api: ApiClient) -> bool:
    job_id = api.run("local/lab", {"output": "done"})["id"]
    job = DynamoJobStore(stack.get_client("dynamodb"), stack.outputs["JobsTableName"]).get(api.tenant, job_id)
    return job is not None and job.report_channel == "webhook"
