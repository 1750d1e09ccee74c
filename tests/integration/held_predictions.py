"""Predictions that wait for a slot of a concurrency limit."""

import functools

from tests.integration.api_client import ApiClient
from tests.integration.models import HELD_INPUT, LAB
from tools.local.stack import Stack
from tools.local.waiting import wait_for


def hold_prediction(stack: Stack, operator: ApiClient, tenant: str) -> tuple[ApiClient, str]:
    """Limit a tenant to one prediction at a time; return its client and the ID of a prediction that waits.

    Predictions are created until one waits, since dispatch sees a new limit late.
    """
    key = operator.call("POST", "/admin/keys", {"tenant": tenant}).json()["key"]
    operator.call("PUT", f"/admin/tenants/{tenant}/concurrency", {"max_concurrency": 1})
    api = ApiClient(stack.api_url, key, tenant)

    def find_outcome(prediction_id: str) -> str | None:
        prediction = api.get(prediction_id)
        if prediction["proxy"].get("waiting"):
            return "waiting"
        return "running" if prediction["status"] == "processing" else None

    while True:
        prediction_id: str = api.create(LAB, HELD_INPUT)["id"]
        outcome = wait_for(
            functools.partial(find_outcome, prediction_id),
            timeout_seconds=90,
            description="a prediction that runs or waits for a slot",
        )
        if outcome == "waiting":
            return api, prediction_id
