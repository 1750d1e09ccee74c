"""Usage and budgets on the deployed stack: concurrent creates do not overspend, and usage is the sum."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.integration.api_client import ApiClient
from tests.integration.conftest import FOLDER
from tools.local.faults import inject_faults
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


MODEL = "black-forest-labs/flux-1.1-pro"
PRICE = Decimal("0.04")
# `make budget-load` sets 1,000, so that the budget is $5.
CREATES = int(os.environ.get("BUDGET_CREATES", "48"))
AFFORDABLE = CREATES // 8
THREADS = 8
MAX_REPETITIONS = 20
CRASHES = {"ingest.idempotency_key_claimed": 0.1, "ingest.job_stored": 0.1, "ingest.job_enqueued": 0.1}
LOST_RESPONSES = {"dynamodb": 0.02}
UNAVAILABLE = Counter[tuple[int, str]]()
"""Answers that were no decision, which show what a failure was about."""


def get_window(operator: ApiClient, tenant: str) -> dict[str, Any]:
    (window,) = operator.call("GET", f"/admin/tenants/{tenant}/budget").json()["windows"]
    assert isinstance(window, dict)
    return window


def create(api: ApiClient) -> requests.Response:
    """Create a prediction; repeat what a busy machine did not answer, which must reserve nothing twice."""
    headers = {"idempotency-key": secrets.token_hex(8)}
    body = {"version": MODEL, "input": {"prompt": "a cat"}}
    for _ in range(MAX_REPETITIONS):
        try:
            response = api.call("POST", "/v1/predictions", body, headers=headers)
        except requests.Timeout:
            UNAVAILABLE[0, "no response in time"] += 1
            continue
        if response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            return response
        UNAVAILABLE[response.status_code, response.text[:100]] += 1
    raise AssertionError(f"no answer: {UNAVAILABLE}")


@pytest.mark.slow
def test_concurrent_creates_with_crashes_use_a_budget_up_and_do_not_overspend_it(
    make_api: Callable[[], ApiClient], operator: ApiClient, tmp_path: Path
) -> None:
    api = make_api()
    limit = str(AFFORDABLE * PRICE)
    response = operator.call("PUT", f"/admin/tenants/{api.tenant}/budget", {"day_usd": limit})
    assert response.status_code == 200, response.text

    log = tmp_path / "crashes.jsonl"
    faults = inject_faults(FOLDER, log, crash=CRASHES, aws_response_lost=LOST_RESPONSES)
    with faults, ThreadPoolExecutor(THREADS) as executor:
        responses = list(executor.map(lambda _: create(api), range(CREATES)))
    assert '"crash"' in log.read_text("utf-8")

    statuses = Counter(response.status_code for response in responses)
    assert statuses == {201: AFFORDABLE, 402: CREATES - AFFORDABLE}
    refused = next(response.json() for response in responses if response.status_code == 402)
    assert refused["title"] == "Budget exceeded"
    assert refused["budget"]["resets_at"].endswith("T00:00:00.000Z")
    accepted = [response.json() for response in responses if response.status_code == 201]
    # A repetition of an accepted create reserves nothing and says nothing about the budget.
    budgets = [prediction["proxy"]["budget"] for prediction in accepted if "budget" in prediction["proxy"]]
    assert {budget["reserved_usd"] for budget in budgets} <= {"0.040000"}

    for prediction in accepted:
        # A harvest whose save was lost goes on when its lease has ended, after some minutes.
        api.wait_until_finished(prediction["id"], timeout_seconds=480)
    wait_for_usage(api, AFFORDABLE)

    window = get_window(operator, api.tenant)
    usage = api.call("GET", "/v1/usage?group_by=model").json()
    assert window["committed_usd"] == window["spent_usd"] == usage["total"]["cost_usd"]
    # Nothing that was reserved is lost to a crash: all of the budget could be spent.
    assert Decimal(window["spent_usd"]) == AFFORDABLE * PRICE
    of_tenant = operator.call("GET", f"/admin/usage?tenant={api.tenant}&format=csv").text
    row = of_tenant.splitlines()[1].split(",")
    # The last column counts estimates: a create that was lost may have made a prediction elsewhere.
    cost_usd = usage["total"]["cost_usd"]
    assert row[1:-1] == [str(AFFORDABLE), str(AFFORDABLE), "0", "0", cost_usd, "0.000000", "0"]


def wait_for_usage(api: ApiClient, predictions: int) -> None:
    """Wait until so many predictions are counted."""

    def find() -> bool | None:
        counted: int = api.call("GET", "/v1/usage").json()["total"]["predictions"]
        return True if counted == predictions else None

    wait_for(find, timeout_seconds=60, description="usage")


def test_canceled_and_free_predictions_release_what_they_reserved(
    make_api: Callable[[], ApiClient], operator: ApiClient
) -> None:
    api = make_api()
    key_id = api.key.split("_")[1]
    operator.call("PUT", f"/admin/keys/{key_id}/budget", {"month_usd": "1.00"}).raise_for_status()
    prediction = api.create("local/lab", {"status": "failed", "error": "no such luck"})
    assert prediction["proxy"]["budget"]["reserved_usd"] == "1.000000"
    assert (
        api.call("POST", "/v1/predictions", {"version": MODEL, "input": {"prompt": "a"}}).status_code == 402
    )

    assert api.wait_until_finished(prediction["id"])["status"] == "failed"
    wait_for_usage(api, 1)

    (window,) = operator.call("GET", f"/admin/keys/{key_id}/budget").json()["windows"]
    assert (window["committed_usd"], window["left_usd"]) == ("0.000000", "1.000000")


def test_paused_tenant_is_refused_and_resumed(make_api: Callable[[], ApiClient], operator: ApiClient) -> None:
    api = make_api()
    pause = {"tenant": api.tenant, "mode": "refuse", "reason": "invoice overdue"}
    operator.call("POST", "/admin/pause", pause).raise_for_status()

    def create_and_expect(status: int, text: str) -> Any:
        response = api.call("POST", "/v1/predictions", {"version": "local/lab", "input": {"output": "on"}})
        return response.json() if response.status_code == status and text in response.text else None

    # Functions see a change after some seconds.
    wait_for(lambda: create_and_expect(503, "invoice overdue"), timeout_seconds=30, description="the pause")

    operator.call("POST", "/admin/resume", {"tenant": api.tenant}).raise_for_status()

    resumed = wait_for(
        lambda: create_and_expect(201, "proxy"), timeout_seconds=30, description="the end of the pause"
    )
    assert api.wait_until_finished(resumed["id"])["status"] == "succeeded"
