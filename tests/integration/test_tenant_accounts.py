"""A tenant with a Replicate account of its own: what it runs, sees and pays for is apart from the others."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.aws.job_store import DynamoJobStore
from tests.integration.api_client import ApiClient
from tests.integration.models import SDXL, get_version
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.local.stack import Stack
    from tools.simulator.client import SimulatorClient

SECRET = "whsec_b3duLWFjY291bnQtc2VjcmV0LW93bi1hY2NvdW50"
# Functions see a change of the accounts after ten seconds.
_CACHE_SECONDS = 11.0
_MANY_CREATES = 4


class OwnAccount:
    """A tenant, and an account at the local Replicate that an operator gives it."""

    def __init__(self, operator: ApiClient, simulator: SimulatorClient, api: ApiClient) -> None:
        self.name = f"account-{secrets.token_hex(4)}"
        self.token = f"r8_{secrets.token_hex(16)}"
        self.path = f"/admin/tenants/{api.tenant}/replicate-token"
        self.api = api
        self._operator = operator
        self._simulator = simulator
        self.change()

    def change(self, **settings: Any) -> None:
        """Create the account at Replicate, or replace its settings."""
        account = {"username": self.name, "token": self.token, "webhook_secret": SECRET, **settings}
        self._simulator.change_settings(accounts=[account])

    def put(self) -> dict[str, Any]:
        """Bring the token, and wait until all functions know about it."""
        response = self._operator.call("PUT", self.path, {"token": self.token})
        assert response.status_code == 200, response.text
        time.sleep(_CACHE_SECONDS)
        view: dict[str, Any] = response.json()
        return view


@pytest.fixture
def own(operator: ApiClient, simulator: SimulatorClient, api: ApiClient) -> OwnAccount:
    return OwnAccount(operator, simulator, api)


def find_accounts(simulator: SimulatorClient, prediction: dict[str, Any]) -> list[str]:
    """Return the accounts at Replicate in which predictions were created for a prediction of the proxy."""
    return [found["account"] for found in simulator.find_predictions(prediction["id"])]


def read_report_channel(stack: Stack, api: ApiClient, job_id: str) -> str | None:
    store = DynamoJobStore(stack.get_client("dynamodb"), stack.outputs["JobsTableName"])
    job = store.get(api.tenant, job_id)
    return job.report_channel if job is not None else None


def test_predictions_run_in_the_account_of_their_tenant(
    stack: Stack,
    simulator: SimulatorClient,
    operator: ApiClient,
    own: OwnAccount,
    make_api: Callable[[], ApiClient],
) -> None:
    view = own.put()
    assert (view["replicate_account"], view["token_ends_with"]) == (own.name, own.token[-4:])
    shown = operator.call("GET", own.path)
    assert shown.json()["is_set"]
    assert shown.json()["breaker"]["state"] == "closed"
    assert own.token not in shown.text
    other = make_api()

    prediction = own.api.run("local/lab", {"output": "own"})
    shared = other.run("local/lab", {"output": "shared"})

    assert find_accounts(simulator, prediction) == [own.name]
    assert find_accounts(simulator, shared) == ["local"]
    # Replicate signed the webhooks with the secret of each account.
    assert read_report_channel(stack, own.api, prediction["id"]) == "webhook"
    assert read_report_channel(stack, other, shared["id"]) == "webhook"
    assert prediction["proxy"]["replicate_account"] == own.name
    assert prediction["proxy"]["cost"]["billed_to"] == "tenant"
    assert "billed_to" not in shared["proxy"]["cost"]


def test_webhook_signed_with_the_secret_of_another_account_is_refused(
    stack: Stack, simulator: SimulatorClient, own: OwnAccount
) -> None:
    own.put()
    own.change(webhook_secret=simulator.webhook_secret)

    prediction = own.api.run("local/lab", {"output": "polled"})

    assert prediction["status"] == "succeeded"
    assert read_report_channel(stack, own.api, prediction["id"]) == "poll"
    (found,) = simulator.find_predictions(prediction["id"])
    assert {attempt["status_code"] for attempt in found["webhook_attempts"]} == {401}


def test_rate_limit_of_an_account_does_not_delay_others(
    simulator: SimulatorClient, own: OwnAccount, make_api: Callable[[], ApiClient]
) -> None:
    own.put()
    own.change(rate_limit_per_minute=1)
    other = make_api()
    throttled = [own.api.create("local/lab", {"output": str(n)}) for n in range(_MANY_CREATES)]
    wait_for(
        lambda: simulator.get_stats()["responses"].get("create 429"),
        timeout_seconds=30,
        description="a create that Replicate throttles",
    )

    started = time.monotonic()
    for number in range(_MANY_CREATES):
        assert other.run("local/lab", {"output": str(number)})["status"] == "succeeded"

    assert time.monotonic() - started < 40
    statuses = [own.api.get(prediction["id"])["status"] for prediction in throttled]
    assert "starting" in statuses


def test_private_model_is_visible_to_its_account_only(
    own: OwnAccount, make_api: Callable[[], ApiClient]
) -> None:
    own.put()
    own.change(private_models=[SDXL])
    other = make_api()

    assert own.api.call("GET", f"/v1/models/{SDXL}").status_code == 200
    assert other.call("GET", f"/v1/models/{SDXL}").status_code == 404
    version = get_version(SDXL)
    assert other.run(version, {"prompt": "not mine"})["status"] == "failed"
    # That the shared account does not know the version must not reject the predictions of its owner.
    assert own.api.run(version, {"prompt": "mine"})["status"] == "succeeded"
    assert other.call("GET", f"/v1/models/{SDXL}").status_code == 404


def test_prediction_ends_in_its_account_after_the_token_was_removed(
    simulator: SimulatorClient, operator: ApiClient, own: OwnAccount
) -> None:
    own.put()
    running = own.api.create("local/lab", {"output": "held", "hold": True})

    def find_held() -> str | None:
        found = simulator.find_predictions(running["id"])
        return found[0]["id"] if found and found[0]["status"] == "processing" else None

    prediction_id = wait_for(find_held, timeout_seconds=60, description="the prediction at Replicate")
    assert operator.call("DELETE", own.path).status_code == 204
    (retired,) = operator.call("GET", own.path).json()["retired"]
    assert retired["name"] == own.name
    time.sleep(_CACHE_SECONDS)
    later = own.api.run("local/lab", {"output": "shared"})
    assert find_accounts(simulator, later) == ["local"]

    # The end is found by the token that is kept: the webhook of it is lost.
    simulator.inject_fault("webhook", "lose", event="completed", times=None)
    simulator.complete_prediction(prediction_id)
    finished = own.api.wait_until_finished(running["id"])

    assert finished["status"] == "succeeded"
    assert finished["proxy"]["cost"]["billed_to"] == "tenant"
    assert find_accounts(simulator, running) == [own.name]


def test_token_that_replicate_rejects_is_not_stored(operator: ApiClient, api: ApiClient) -> None:
    path = f"/admin/tenants/{api.tenant}/replicate-token"
    response = operator.call("PUT", path, {"token": "r8_unknown"})
    assert response.status_code == 422
    assert response.json()["invalid_fields"][0]["field"] == "token"
    assert "r8_unknown" not in response.text
    assert not operator.call("GET", path).json()["is_set"]
