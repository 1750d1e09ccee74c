"""Faults that an operator finds, understands and resolves in the console alone, and the effect of each click.

Each test makes its fault by faults of the local Replicate, by receivers that fail, or by real requests.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser

from replicate_proxy.jobs.model import JobStatus
from tests.integration.api_client import ApiClient
from tests.integration.browser import Console
from tests.integration.held_predictions import hold_prediction
from tests.integration.models import FLUX, HELD_INPUT, LAB, SMALL_IMAGE_INPUT
from tests.integration.receiver import Receiver, run_receiver
from tests.integration.stream_dead_letters import build_stream_dead_letter
from tools.local.errors import LocalError
from tools.local.stack import Stack
from tools.local.stored_jobs import store_finished_jobs
from tools.local.waiting import wait_for
from tools.simulator.client import SimulatorClient

GONE = 410
COMPLETED_ONLY: Mapping[str, Any] = {"webhook_events_filter": ["completed"]}
MAX_RUN_SECONDS = 5.0
# More than the failures in a row that open the circuit breaker.
FAILING_JOBS = 12


class Operator(Console):
    """An operator in the console."""

    def find(self, path: str, text: str) -> None:
        """Load a page until it shows a text, however its letters are styled."""

        def is_shown() -> bool:
            return self.open(path) == 200 and text.lower() in self.get_text().lower()

        wait_for(is_shown, timeout_seconds=90, description=f"{text!r} on the page {path or '/'}")

    def click(self, button: str, *, after: str = "") -> None:
        """Click a button; `after` opens the sheet that has it."""
        if after:
            self.page.click(f"summary:has-text('{after}')")
        self.page.click(f"button:has-text('{button}'):visible")

    def assert_says(self, text: str) -> None:
        assert text in self.get_text()


@pytest.fixture(scope="module")
def operator(stack: Stack, browser: Browser) -> Iterator[Operator]:
    console = Operator(f"{stack.api_url}/console", browser.new_context())
    console.sign_in(stack.admin_key)
    yield console
    console.context.close()


@pytest.fixture
def admin(stack: Stack) -> ApiClient:
    """The admin API, which makes faults and confirms that they are gone."""
    return ApiClient(stack.api_url, stack.admin_key)


def wait_for_status(api: ApiClient, prediction_id: str, status: str) -> None:
    wait_for(
        lambda: api.get(prediction_id)["status"] == status,
        timeout_seconds=90,
        description=f"the status {status}",
    )


def get_path(api: ApiClient, prediction: Mapping[str, Any]) -> str:
    return f"/predictions/{api.tenant}/{prediction['id']}"


def read_id(operator: Operator) -> str:
    """Return the ID of the prediction whose page is open."""
    return operator.page.url.partition("?")[0].rpartition("/")[2]


def test_failed_prediction_runs_again_with_edited_input(operator: Operator, api: ApiClient) -> None:
    failed = api.run(LAB, {"status": "failed", "error": "the prompt is not allowed"})
    operator.find(get_path(api, failed), "the prompt is not allowed")
    operator.page.click("text=Run again…")
    operator.page.fill("#input", json.dumps({"output": "allowed"}))
    operator.page.click("button:text-is('Run')")
    operator.assert_says("The prediction is created")

    assert api.wait_until_finished(read_id(operator))["output"] == "allowed"


def test_failed_prediction_is_retried(operator: Operator, api: ApiClient) -> None:
    failed = api.run(LAB, {"status": "failed", "error": "out of memory"})
    operator.find("", failed["id"])
    operator.find(get_path(api, failed), "out of memory")
    operator.click("Retry the prediction", after="Retry…")
    operator.assert_says("run again as this new one")

    retried = api.wait_until_finished(read_id(operator))
    assert retried["proxy"]["retried_from"] == failed["id"]


def test_all_failed_predictions_are_retried_in_bulk(stack: Stack, browser: Browser) -> None:
    """First without JavaScript, then on the page that refreshes itself."""
    tenant = f"console-bulk-{secrets.token_hex(4)}"
    store_finished_jobs(stack, tenant, 3, JobStatus.FAILED)
    store_finished_jobs(stack, tenant, 1)
    url = f"{stack.api_url}/console"
    plain, console = Operator(url, browser.new_context(java_script_enabled=False)), None
    try:
        plain.sign_in(stack.admin_key)
        plain.open(f"/predictions?tenant={tenant}&status=failed")
        plain.page.click("text=Act on all that match…")
        plain.page.select_option("#action", "cancel")
        plain.page.click("button:text-is('Count')")
        plain.assert_says("cancel applies to jobs that are")
        plain.page.select_option("#action", "retry")
        plain.page.click("button:text-is('Count')")
        plain.assert_says("3 predictions match")
        plain.page.click("text=Retry 3 predictions")
        plain.assert_says("The operation has started")
        path = plain.page.url.partition("/console")[2].partition("?")[0]

        console = Operator(url, browser.new_context())
        console.sign_in(stack.admin_key)
        console.open(path)
        console.page.wait_for_selector(".badge:text-is('succeeded')", timeout=90_000)

        assert console.page.locator(".stat:has-text('done') b").inner_text() == "3"
        assert console.page.locator("text=Cancel…").count() == 0
        console.find("/bulk-operations", tenant)
        console.open(f"/predictions?tenant={tenant}")
        assert console.page.locator("#live tbody tr").count() == 7
        # With JavaScript the count follows the page.
        console.open(f"/bulk-operations/new?tenant={tenant}&action=redeliver")
        console.page.wait_for_selector("#count h2:has-text('7 predictions match')")
        console.page.wait_for_selector("#count button:has-text('Redeliver 7 predictions')")
        assert console.complaints == []
    finally:
        for opened in filter(None, (plain, console)):
            opened.context.close()


def test_prediction_that_does_not_end_is_canceled(operator: Operator, api: ApiClient) -> None:
    stuck = api.create(LAB, HELD_INPUT)
    wait_for_status(api, stuck["id"], "processing")
    operator.find(f"/predictions?status=processing&tenant={api.tenant}", stuck["id"])
    operator.open(get_path(api, stuck))
    operator.click("Cancel the prediction", after="Cancel…")
    operator.assert_says("The cancel is requested")

    assert api.wait_until_finished(stuck["id"])["status"] == "canceled"


def test_batch_that_does_not_end_is_canceled(operator: Operator, api: ApiClient) -> None:
    predictions = [{"version": LAB, "input": HELD_INPUT}] * 2
    batch = api.call("POST", "/v1/batches", {"predictions": predictions}).json()["id"]
    operator.find(f"/batches?tenant={api.tenant}", batch)
    operator.find(f"/batches/{api.tenant}/{batch}", "0 of 2 ended")
    operator.click("Cancel the batch", after="Cancel…")
    operator.assert_says("The cancel of the batch is requested")

    operator.find(f"/batches/{api.tenant}/{batch}", "2 of 2 ended")


def test_file_that_is_not_stored_is_fetched_again(
    operator: Operator, api: ApiClient, simulator: SimulatorClient
) -> None:
    name = f"{secrets.token_hex(6)}.png"
    simulator.inject_fault("download", "status", status=404, contains=name, times=100)
    file = {"$file": "png", "width": 64, "height": 64, "name": name}
    prediction = api.run(LAB, {"output": file})
    operator.find(get_path(api, prediction), "not stored")
    simulator.call_control_api("DELETE", "faults")
    operator.click("Fetch the files again")

    def find_stored_file() -> str | None:
        view = api.get(prediction["id"])
        return None if view["proxy"]["files"][0]["outcome"] == "not_stored" else view["output"]

    output = wait_for(find_stored_file, timeout_seconds=60, description="the file")
    assert requests.get(output, timeout=30).status_code == 200


def test_budget_that_is_used_up_is_raised(operator: Operator, admin: ApiClient, api: ApiClient) -> None:
    admin.call("PUT", f"/admin/tenants/{api.tenant}/budget", {"day_usd": "0.004"}).raise_for_status()
    api.run(FLUX, SMALL_IMAGE_INPUT)
    body = {"version": FLUX, "input": SMALL_IMAGE_INPUT}
    assert api.call("POST", "/v1/predictions", body).status_code == 402
    operator.find("", api.tenant)
    operator.find(f"/tenants/{api.tenant}", "$0.004")
    operator.page.fill("#day_usd", "50")
    operator.click("Set the budget")
    operator.assert_says("$50.00")

    assert api.run(FLUX, SMALL_IMAGE_INPUT)["status"] == "succeeded"


def test_tenant_that_is_refused_is_resumed(operator: Operator, admin: ApiClient, api: ApiClient) -> None:
    pause = {"tenant": api.tenant, "mode": "refuse", "reason": "invoice overdue"}
    admin.call("POST", "/admin/pause", pause).raise_for_status()
    body = {"version": LAB, "input": {"output": "on"}}

    def wait_for_answer(status: int) -> None:
        """Functions see a pause and its end after five seconds."""
        wait_for(
            lambda: api.call("POST", "/v1/predictions", body).status_code == status,
            timeout_seconds=30,
            description=f"the status {status}",
        )

    wait_for_answer(503)
    operator.find("/tenants", api.tenant)
    operator.find(f"/tenants/{api.tenant}", "invoice overdue")
    operator.click("Resume predictions")
    operator.assert_says("Predictions are resumed")

    wait_for_answer(201)


def test_paused_webhooks_are_resumed_and_sent(operator: Operator, admin: ApiClient, api: ApiClient) -> None:
    pause = {"tenant": api.tenant, "activity": "deliveries", "reason": "their receiver moves"}
    admin.call("POST", "/admin/pause", pause).raise_for_status()
    with run_receiver() as receiver:
        prediction = api.run(LAB, {"output": 1}, webhook=receiver.url, **COMPLETED_ONLY)
        operator.find(get_path(api, prediction), "pending")
        operator.find(f"/tenants/{api.tenant}", "their receiver moves")
        operator.click("Resume webhooks")
        operator.assert_says("Webhooks are resumed")

        def resend_until_received() -> bool:
            """The sweep sends it within minutes; deliver sees the resume after five seconds."""
            if not receiver.requests:
                operator.open(get_path(api, prediction))
                operator.click("Resend them all", after="Resend webhooks…")
            return bool(receiver.requests)

        wait_for(resend_until_received, timeout_seconds=90, description="the webhook after the resume")


def test_failed_webhook_is_sent_again(operator: Operator, api: ApiClient) -> None:
    with run_receiver(GONE) as receiver:
        prediction = api.run(LAB, {"output": 1}, webhook=receiver.url, **COMPLETED_ONLY)
        operator.find(f"/deliveries?tenant={api.tenant}", prediction["id"])
        operator.find(get_path(api, prediction), "410")
        operator.page.click("button[aria-label^='Resend completed']")
        operator.assert_says("enqueued again")

        assert_sent_again(receiver)


def test_disabled_endpoint_is_enabled_and_gets_what_it_missed(operator: Operator, api: ApiClient) -> None:
    with run_receiver(GONE) as receiver:
        body = {"url": receiver.url, "events": ["completed"]}
        endpoint = api.call("POST", "/v1/webhooks/endpoints", body).json()["id"]
        api.run(LAB, {"output": 1})
        operator.find(f"/deliveries?tenant={api.tenant}", "disabled")
        operator.page.click(f"a:text-is('{endpoint}')")
        operator.click("Enable and resend")
        operator.assert_says("what it missed is sent again")

        assert_sent_again(receiver)


def test_enabled_endpoint_gets_what_waits_after_failed_attempts(operator: Operator, api: ApiClient) -> None:
    """Its third attempt would be minutes later."""
    with run_receiver(503, 503) as receiver:
        body = {"url": receiver.url, "events": ["completed"]}
        endpoint = api.call("POST", "/v1/webhooks/endpoints", body).json()["id"]
        api.run(LAB, {"output": 1})
        receiver.wait_for(lambda requests: len(requests) == 2, "two attempts")
        operator.find(f"/endpoints/{api.tenant}/{endpoint}", "failures in a row")
        operator.click("Disable the endpoint", after="Disable…")
        operator.assert_says("The endpoint is disabled")
        operator.click("Enable and resend")
        operator.assert_says("what it missed is sent again")

        received = receiver.wait_for(lambda requests: len(requests) == 3, "the webhook again")
        assert received[-1].status == 204


def test_webhook_behind_an_earlier_one_says_what_it_waits_for(operator: Operator, api: ApiClient) -> None:
    """The attempts of the earlier one go on for days; the time of its own first attempt has passed."""
    with run_receiver(*[503] * 9) as receiver:
        filters = {"webhook_events_filter": ["start", "completed"]}
        prediction = api.run(LAB, {"output": 1}, webhook=receiver.url, **filters)
        receiver.wait_for(lambda requests: len(requests) >= 2, "two attempts")
        for path in (get_path(api, prediction), f"/deliveries?tenant={api.tenant}"):
            operator.find(path, "after start")
            times = operator.page.locator("td[data-label='Next attempt']").all_inner_texts()
            assert not [text for text in times if "ago" in text], path


def test_what_a_leaked_key_has_created_is_found_and_canceled(
    operator: Operator, api: ApiClient, make_key: Callable[[str], str]
) -> None:
    leaked = ApiClient(api.url, make_key(api.tenant), api.tenant)
    kept, stray = (each.create(LAB, HELD_INPUT)["id"] for each in (api, leaked))
    key_id = leaked.key.split("_")[1]
    operator.find(f"/tenants/{api.tenant}", key_id)
    operator.page.click(f"a:text-is('{key_id}')")
    operator.assert_says(stray)
    assert kept not in operator.get_text()
    operator.page.select_option("#status", "unfinished")
    operator.page.click("button:text-is('Filter')")
    operator.page.click("text=Act on all that match…")
    operator.page.select_option("#action", "cancel")
    operator.page.click("button:text-is('Count')")
    operator.page.click("button:has-text('Cancel 1 prediction')")

    assert leaked.wait_until_finished(stray)["status"] == "canceled"
    assert api.get(kept)["status"] != "canceled"
    api.call("POST", f"/v1/predictions/{kept}/cancel")


def assert_sent_again(receiver: Receiver) -> None:
    received = receiver.wait_for(lambda requests: len(requests) >= 2, "the webhook again")
    assert [request.status for request in received] == [GONE, 204]
    assert len({request.headers["webhook-id"] for request in received}) == 1


def test_dead_letter_is_redriven(stack: Stack, operator: Operator, api: ApiClient) -> None:
    prediction = api.run(LAB, {"output": "not announced"})
    with run_receiver() as receiver:
        # Created after the end of the prediction, it gets the event only if the stream is read again.
        body = {"url": receiver.url, "events": ["completed"]}
        api.call("POST", "/v1/webhooks/endpoints", body).raise_for_status()
        stack.get_client("sqs").send_message(
            QueueUrl=stack.outputs["NotifyStreamDeadLetterQueueUrl"],
            MessageBody=json.dumps(build_stream_dead_letter(stack, prediction["id"])),
        )
        operator.find("", "notify-stream")
        operator.find("/dead-letters/notify-stream?body=true", "RetryAttemptsExhausted")
        operator.click("Redrive the selected, or all that match")

        [request] = receiver.wait_for(lambda requests: len(requests) == 1, "the webhook")
    assert request.prediction["id"] == prediction["id"]
    operator.find("/dead-letters/notify-stream", "No messages")


def test_dead_letter_of_no_use_is_discarded(stack: Stack, operator: Operator, api: ApiClient) -> None:
    ended = api.run(LAB, {"output": 1})["id"]
    message = {"kind": "submit", "tenant": api.tenant, "job_id": ended, "correlation_id": "test"}
    queue_url = stack.outputs["TrackDeadLetterQueueUrl"]
    stack.get_client("sqs").send_message(QueueUrl=queue_url, MessageBody=json.dumps(message))
    path = f"/dead-letters/track?tenant={api.tenant}"
    operator.find(path, ended)
    operator.page.check("input[name=message_ids]")
    operator.click("Discard them", after="Discard…")
    operator.assert_says("1 message discarded")
    operator.find(path, "No message")


def test_limit_that_holds_predictions_is_raised(stack: Stack, operator: Operator, admin: ApiClient) -> None:
    api, held = hold_prediction(stack, admin, f"console-{secrets.token_hex(4)}")
    operator.find("/concurrency", held)
    operator.page.fill("#tenant", api.tenant)
    operator.page.fill("#max_concurrency", "50")
    operator.page.click("button:text-is('Set the limit')")
    operator.assert_says("It is saved")

    wait_for_status(api, held, "processing")


def test_rejected_token_of_a_tenant_is_removed(
    operator: Operator, admin: ApiClient, api: ApiClient, simulator: SimulatorClient
) -> None:
    name, token = f"account-{secrets.token_hex(4)}", f"r8_{secrets.token_hex(16)}"
    account = {"username": name, "token": token, "webhook_secret": "whsec_b3duLWFjY291bnQ="}
    simulator.change_settings(accounts=[account])
    stored = admin.call("PUT", f"/admin/tenants/{api.tenant}/replicate-token", {"token": token})
    assert stored.status_code == 200, stored.text
    simulator.change_settings(accounts=[{**account, "token": f"{token}new"}])
    waiting = create_until(api, is_sent=False)
    operator.find(f"/predictions?status=queued&tenant={api.tenant}", waiting)
    operator.find(f"/tenants/{api.tenant}", "token rejected")
    # What the tenant mistypes is not stored.
    operator.page.fill("#token", "r8_unknown_to_replicate")
    operator.click("Check and store")
    operator.assert_says("is rejected by Replicate")
    assert "r8_unknown_to_replicate" not in operator.page.content()
    operator.click("Remove the token", after="Remove…")

    create_until(api, is_sent=True)


def create_until(api: ApiClient, *, is_sent: bool) -> str:
    """Create predictions until one is sent, or waits for a token; functions see a token late."""
    while True:
        prediction_id: str = api.create(LAB, {"output": 1})["id"]
        if ends_soon(api, prediction_id) == is_sent:
            return prediction_id


def ends_soon(api: ApiClient, prediction_id: str) -> bool:
    """Return whether a prediction ends long before one without a valid token is tried again."""
    try:
        wait_for(
            lambda: api.get(prediction_id)["status"] == "succeeded",
            timeout_seconds=MAX_RUN_SECONDS,
            description="the end of the prediction",
        )
    except LocalError:
        return False
    return True


def test_leaked_key_is_revoked(
    operator: Operator, stack: Stack, api: ApiClient, make_key: Callable[..., str]
) -> None:
    leaked = ApiClient(stack.api_url, make_key(api.tenant), api.tenant)
    leaked.run(LAB, {"output": "by a stranger"})
    key_id = leaked.key.split("_")[1]
    operator.find(f"/tenants/{api.tenant}", key_id)
    row = operator.page.locator(f"tr:has-text('{key_id}')")
    row.locator("summary:has-text('Revoke…')").click()
    operator.click(f"Revoke {key_id}")
    operator.assert_says("The key is revoked")

    wait_for(
        lambda: leaked.call("GET", "/v1/predictions").status_code == 401,
        timeout_seconds=90,
        description="the key is refused",
    )
    assert api.call("GET", "/v1/predictions").status_code == 200


def test_open_circuit_breaker_is_closed(
    operator: Operator, api: ApiClient, simulator: SimulatorClient
) -> None:
    """The last test, since the predictions that failed to be created are sent later."""
    simulator.inject_fault("create", "status", status=500, times=1000)
    for number in range(FAILING_JOBS):
        api.create(LAB, {"output": number})
    operator.find("", "by failures")
    simulator.call_control_api("DELETE", "faults")
    operator.click("Close the breaker")
    operator.assert_says("breaker closed")

    assert api.run(LAB, {"output": "sent"})["status"] == "succeeded"
