"""The console in a real browser on the deployed stack, with and without JavaScript.

Without an installed Chromium these tests are skipped, which `make test` reports at its end.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.integration.api_client import ApiClient
from tests.integration.browser import Console
from tests.integration.held_predictions import hold_prediction
from tests.integration.models import FLUX, HELD_INPUT, LAB, SMALL_IMAGE_INPUT
from tools.batches.worker import start_worker
from tools.local.paths import ROOT
from tools.local.stack import Stack
from tools.local.stored_jobs import store_finished_jobs
from tools.local.waiting import wait_for

# For a look at the pages; the times of pages with many predictions are measured by tools/bench.
STORED_JOBS = int(os.environ.get("CONSOLE_JOBS", "300"))
SCREENSHOTS = os.environ.get("CONSOLE_SCREENSHOTS")
HOSTILE = """"><script>alert(1)</script><img src=x onerror="alert(2)">"""
TENANT = "console-tenant"
MAX_PAGE_BYTES = 150_000
SCHEMES = ("light", "dark")
HELD_TENANT = "console-held"
ERASED_TENANT, TYPED_TENANT = "console-erased", "console-typed"


@dataclass(frozen=True)
class Content:
    """What the stack holds for the pages: a prediction with files, one that failed, an endpoint."""

    tenant_key: str
    paths: Mapping[str, str]
    prediction: str
    foreign: str


@pytest.fixture(scope="module")
def content(stack: Stack) -> Content:
    """Fill a tenant with hostile texts and files, and another one with many predictions."""
    operator = ApiClient(stack.api_url, stack.admin_key)
    created = operator.call("POST", "/admin/keys", {"tenant": TENANT, "name": HOSTILE[:90]}).json()
    api = ApiClient(stack.api_url, created["key"], TENANT)
    operator.call("PUT", f"/admin/tenants/{TENANT}", {"display_name": HOSTILE})
    operator.call("PUT", f"/admin/tenants/{TENANT}/budget", {"day_usd": "50", "month_usd": "500"})
    operator.call("PUT", "/admin/models/console/fast", {"target": FLUX, "description": HOSTILE})
    body = {"url": "http://127.0.0.1:9/hook", "description": HOSTILE}
    endpoint = api.call("POST", "/v1/webhooks/endpoints", body).json()["id"]
    image_input = {**SMALL_IMAGE_INPUT, "prompt": f"a lighthouse {HOSTILE}"}
    created_batch = api.call(
        "POST", "/v1/batches", {"predictions": [{"version": LAB, "input": HELD_INPUT}] * 2}
    ).json()
    succeeded = api.run(FLUX, image_input)
    failed = api.run("console/none", {"prompt": HOSTILE})
    large_batch = run_large_batch(stack, api)
    hold_prediction(stack, operator, HELD_TENANT)
    for name in (ERASED_TENANT, TYPED_TENANT):
        operator.call("PUT", f"/admin/tenants/{name}", {"display_name": HOSTILE})
    operator.call("DELETE", f"/admin/tenants/{ERASED_TENANT}", {"confirm": ERASED_TENANT})
    # Less than what was spent: it is used up.
    operator.call("PUT", f"/admin/tenants/{TENANT}/budget", {"day_usd": "0.001", "month_usd": "50"})
    sqs = stack.get_client("sqs")
    message = {"kind": "submit", "tenant": TENANT, "job_id": failed["id"], "correlation_id": HOSTILE}
    sqs.send_message(QueueUrl=stack.outputs["TrackDeadLetterQueueUrl"], MessageBody=json.dumps(message))
    bulk = {"action": "retry", "filter": {"tenant": TENANT}, "expected_count": 1}
    operation = operator.call("POST", "/admin/bulk-operations", bulk).json()["id"]
    foreign = store_finished_jobs(stack, "console-many", STORED_JOBS)[0]
    prediction = f"/predictions/{TENANT}/{succeeded['id']}"
    paths = {
        "overview": "",
        "predictions": "/predictions",
        "predictions of tenant": f"/predictions?tenant={TENANT}",
        "many predictions": "/predictions?tenant=console-many&status=succeeded",
        "prediction": prediction,
        "failed prediction": f"/predictions/{TENANT}/{failed['id']}",
        "run again": f"{prediction}/run",
        "batches": "/batches",
        "batch": f"/batches/{TENANT}/{created_batch['id']}",
        "large batch": f"/batches/{TENANT}/{large_batch}",
        "concurrency": "/concurrency",
        "replays": "/replays",
        "queues": "/dead-letters",
        "bulk operations": "/bulk-operations",
        "bulk operation": f"/bulk-operations/{operation}",
        "new bulk operation": f"/bulk-operations/new?tenant={TENANT}&action=retry",
        "deliveries": f"/deliveries?tenant={TENANT}",
        "endpoint": f"/endpoints/{TENANT}/{endpoint}",
        "usage": "/usage",
        "usage of tenant": f"/usage?tenant={TENANT}",
        "queue": "/dead-letters/track?body=true",
        "models": "/models",
        "model": "/models/console/fast",
        "new model": "/models/new",
        "tenants": "/tenants",
        "tenant": f"/tenants/{TENANT}",
        "empty tenant": "/tenants/console-nobody",
        "erased tenant": f"/tenants/{ERASED_TENANT}",
        "erasure": f"/tenants/{ERASED_TENANT}/erasure",
        "audit": "/audit?verify=true",
    }
    return Content(created["key"], paths, prediction, f"/predictions/console-many/{foreign}")


def run_large_batch(stack: Stack, api: ApiClient) -> str:
    """Run a batch of hostile lines, half of them bad, to its end. Returns its ID."""
    good = {"custom_id": HOSTILE[:60], "version": LAB, "input": {"output": HOSTILE}}
    lines = [json.dumps(line).encode() for line in (good, {"custom_id": HOSTILE[:60]})] * 3
    body = {"input_file": api.upload_lines(b"\n".join(lines))}
    batch_id = str(api.call("POST", "/v1/batches", body).json()["id"])

    def is_completed() -> bool:
        start_worker(stack)
        time.sleep(1)
        return bool(api.call("GET", f"/v1/batches/{batch_id}").json()["status"] == "completed")

    wait_for(is_completed, timeout_seconds=120, description="the end of the batch")
    return batch_id


def _forget_sign_ins(stack: Stack) -> None:
    """The tests of a fast machine sign in more often than one address may in a minute."""
    dynamodb, table = stack.get_client("dynamodb"), stack.outputs["ControlTableName"]
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ProjectionExpression="pk")
    for row in (row for page in pages for row in page["Items"] if row["pk"]["S"].startswith("SIGN_IN#")):
        dynamodb.delete_item(TableName=table, Key=row)


@pytest.fixture
def make_console(stack: Stack, browser: Browser) -> Iterator[Callable[..., Console]]:
    """make_console(**options of the context) returns the console in a new browser profile."""
    _forget_sign_ins(stack)
    consoles: list[Console] = []

    def make(**options: Any) -> Console:
        consoles.append(Console(f"{stack.api_url}/console", browser.new_context(**options)))
        return consoles[-1]

    yield make
    for console in consoles:
        console.context.close()


def test_every_page_fits_and_breaks_no_rule(
    stack: Stack, content: Content, make_console: Callable[..., Console]
) -> None:
    """Each page is loaded once: wide and narrow, light and dark are only other styles of it.

    Between both widths, tables may be wider than the window: they can be scrolled by the keyboard.
    """
    console = make_console()
    page, violations = console.page, []
    console.open("/sign-in")
    violations += console.find_accessibility_violations()
    console.sign_in(stack.admin_key)
    for name, path in content.paths.items():
        page.set_viewport_size({"width": 1600, "height": 900})
        assert console.open(path) == 200, name
        for width in (1600, 400):
            page.set_viewport_size({"width": width, "height": 900})
            assert console.measure_overflow() == 0, (name, width)
            _take_screenshots(console, f"{name} {width}")
        assert len(page.content().encode()) < MAX_PAGE_BYTES, name
        assert page.locator("img[src=x], script:not([src])").count() == 0, name
        # What a template prints instead of a value that it does not find.
        assert " object at 0x" not in page.content(), name
        # No violation of the policy, no script error, no dialog of a hostile text.
        assert console.complaints == [], name
        for width in (768, 1600):
            page.set_viewport_size({"width": width, "height": 900})
            violations += console.find_accessibility_violations()
        page.emulate_media(color_scheme="dark")
        violations += console.find_accessibility_violations(only_colors=True)
        page.emulate_media(color_scheme="light")
        # What axe-core itself does to the page.
        console.complaints.clear()
    assert violations == []


def test_list_of_predictions_fits_a_tablet(
    stack: Stack, content: Content, make_console: Callable[..., Console]
) -> None:
    """No column is out of sight: the cost is the last one."""
    console = make_console(viewport={"width": 768, "height": 1024})
    console.sign_in(stack.admin_key)
    for name in ("predictions", "many predictions", "batch"):
        console.open(content.paths[name])
        assert console.page.locator("td[data-label='Cost']").count() > 0, name
        hidden = console.page.evaluate(
            "[...document.querySelectorAll('.scroll')].map(part => part.scrollWidth - part.clientWidth)"
        )
        assert max(hidden) == 0, name


def test_everything_works_without_javascript(content: Content, make_console: Callable[..., Console]) -> None:
    console = make_console(java_script_enabled=False)
    console.sign_in(content.tenant_key)
    page = console.page
    console.open(content.prediction)
    assert page.locator(".files img").first.is_visible()
    page.click("text=Run again…")
    page.fill("#input", json.dumps({**SMALL_IMAGE_INPUT, "prompt": "a second lighthouse"}))
    page.click("button:text-is('Run')")
    assert "Budget exceeded" in console.get_text()
    assert "a second lighthouse" in page.input_value("#input")
    console.open("/deliveries")
    page.click("summary:has-text('Resend failed')")
    page.click("text=Resend all that failed")
    assert "enqueued again" in console.get_text()
    console.open("/predictions?status=failed")
    assert console.page.locator(".badge.bad").count() >= 1
    console.open("/batches")
    page.locator("tbody th a").last.click()
    assert "in the order of the batch" in console.get_text()
    page.click("text=Sign out")
    assert "You are signed out" in console.get_text()
    assert console.open("/predictions") == 200
    assert "/sign-in" in page.url


def test_large_batch_shows_its_lines_and_gives_its_results(
    content: Content, make_console: Callable[..., Console]
) -> None:
    console = make_console()
    console.sign_in(content.tenant_key)
    console.open(content.paths["large batch"])
    text = console.get_text()
    assert "6 of 6 ended" in text
    assert console.page.locator("tbody tr .badge.good").count() == 3
    assert console.page.locator("tbody tr .badge.bad").count() == 3
    with console.page.expect_download() as download:
        console.page.click("text=Results")
    lines = [json.loads(line) for line in download.value.path().read_text("utf-8").splitlines()]
    assert [line["status"] for line in lines] == ["succeeded", "rejected"] * 3
    assert lines[0]["output"] == HOSTILE


def test_prediction_is_opened_by_its_id(
    stack: Stack, api: ApiClient, make_console: Callable[..., Console]
) -> None:
    prediction = api.create(LAB, {"output": 1})["id"]
    console = make_console()
    console.sign_in(stack.admin_key)
    console.open("/predictions")
    console.page.fill("#id", prediction)
    console.page.keyboard.press("Enter")
    console.page.wait_for_url(f"**/predictions/{api.tenant}/{prediction}")


def test_usage_of_a_month_is_downloaded(
    stack: Stack, api: ApiClient, make_console: Callable[..., Console]
) -> None:
    """The file has what the page and the API have."""
    api.run(FLUX, SMALL_IMAGE_INPUT)
    wait_for(
        lambda: api.call("GET", "/v1/usage").json()["total"]["predictions"] == 1,
        timeout_seconds=90,
        description="the count of the prediction",
    )
    console = make_console()
    console.sign_in(api.key)
    console.open("/usage")
    console.page.select_option("#days", "this month")
    console.page.click("button:text-is('Show')")
    first_day = time.strftime("%Y-%m-01", time.gmtime())
    assert f"{first_day} to " in console.get_text()
    with console.page.expect_download() as download:
        console.page.click("text=Download as CSV")
    query = f"from={first_day}&group_by=day,model,key&format=csv"
    assert download.value.path().read_bytes() == api.call("GET", f"/v1/usage?{query}").content
    assert download.value.suggested_filename.startswith(f"usage-{api.tenant}-{first_day}-")


def test_htmx_refreshes_the_table_in_place(stack: Stack, make_console: Callable[..., Console]) -> None:
    console = make_console()
    console.sign_in(stack.admin_key)
    console.open("/dead-letters")
    console.page.evaluate("document.querySelector('h1').dataset.kept = 'yes'")
    console.page.evaluate("document.querySelector('#live').dataset.old = 'yes'")
    with console.page.expect_response(lambda response: "hx-request" in response.request.headers):
        console.page.evaluate("htmx.ajax('GET', location.href, {source: '#live'})")
    console.page.wait_for_selector("#live:not([data-old])")
    assert console.page.get_attribute("h1", "data-kept") == "yes"
    assert console.complaints == []


def test_tenant_sees_its_own_pages_only(content: Content, make_console: Callable[..., Console]) -> None:
    console = make_console()
    console.sign_in(content.tenant_key)
    assert console.open("/predictions") == 200
    assert "console-many" not in console.page.content()
    for path in (content.foreign, "/tenants", "/audit", "/predictions?tenant=console-many"):
        assert console.open(path) == 404, path


def test_tenant_is_erased_after_its_name_is_typed(
    stack: Stack, content: Content, make_console: Callable[..., Console]
) -> None:
    console = make_console(viewport={"width": 1280, "height": 900})
    console.sign_in(stack.admin_key)
    page = console.page
    for typed, expected in ((TENANT, "must be the name of the tenant"), (TYPED_TENANT, "Erasure of")):
        assert console.open(f"/tenants/{TYPED_TENANT}") == 200
        page.click("text=Erase…")
        page.fill("#confirm", typed)
        assert console.find_accessibility_violations() == []
        page.click("button:text-is('Erase the tenant')")
        assert expected in console.get_text()
    assert page.url.endswith(f"/tenants/{TYPED_TENANT}/erasure")
    assert console.find_accessibility_violations() == []
    operator = ApiClient(stack.api_url, stack.admin_key)
    assert operator.call("GET", f"/admin/tenants/{TYPED_TENANT}/erasure").json()["tenant"] == TYPED_TENANT
    # What the operator typed first is left alone.
    assert operator.call("GET", f"/admin/tenants/{TENANT}").json()["erasing_since"] is None


def test_link_opens_the_view_of_a_tenant_once(
    stack: Stack, content: Content, make_console: Callable[..., Console]
) -> None:
    operator, guest = make_console(), make_console()
    operator.sign_in(stack.admin_key)
    operator.open(f"/tenants/{TENANT}")
    operator.page.click("text=Create a link to its view")
    link = operator.page.inner_text(".secret").strip()
    for _ in range(2):
        guest.page.goto(link)
    guest.page.click("main button")
    assert "An operator's link has opened this view" in guest.get_text()
    assert guest.open("/tenants") == 404
    guest.page.goto(link)
    guest.page.click("main button")
    assert "Link not valid" in guest.get_text()


def test_api_document_is_shown_with_the_files_of_the_stack_alone(
    stack: Stack, make_console: Callable[..., Console]
) -> None:
    console = make_console(viewport={"width": 1280, "height": 900})
    page, requested = console.page, list[str]()
    page.on("request", lambda request: requested.append(request.url))

    page.goto(f"{stack.api_url}/docs")
    page.get_by_text("/v1/predictions/{id}/cancel").wait_for()
    page.get_by_text("List the caller's predictions, newest first").click()
    page.get_by_text("The ID of its batch").wait_for()

    assert page.get_by_role("button", name="Try it out").count() == 0
    assert page.get_by_role("button", name=re.compile("authoriz", re.IGNORECASE)).count() == 0
    assert all(url.startswith((f"{stack.api_url}/", "data:")) for url in requested)
    # No violation of the policy, and no script error.
    assert console.complaints == []
    _take_screenshots(console, "api document")


def _take_screenshots(console: Console, name: str) -> None:
    """Write screenshots where CONSOLE_SCREENSHOTS says, for a look at every page."""
    if not SCREENSHOTS:
        return
    folder = ROOT / SCREENSHOTS
    folder.mkdir(parents=True, exist_ok=True)
    for scheme in SCHEMES:
        console.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        console.page.screenshot(path=folder / f"{name.replace(' ', '-')}-{scheme}.png", full_page=True)
    console.page.emulate_media(color_scheme="light")
