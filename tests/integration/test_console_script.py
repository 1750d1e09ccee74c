"""What the script of the console adds: refreshes that spare what is in use, and forms that are sent once."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.integration.api_client import ApiClient
from tests.integration.browser import Console
from tests.integration.models import HELD_INPUT, LAB
from tools.local.stack import Stack

REFRESH = "htmx.ajax('GET', location.href, {source: '#live'})"
OPENED = "<details open><summary>more</summary>text</details>"


@pytest.fixture(scope="module")
def console(stack: Stack, browser: Browser) -> Iterator[Console]:
    """The console, with an operator who is signed in."""
    console = Console(f"{stack.api_url}/console", browser.new_context())
    console.sign_in(stack.admin_key)
    yield console
    console.context.close()


@pytest.mark.parametrize(
    ("use", "leave"),
    [
        ("document.querySelector('#live a').focus()", "document.activeElement.blur()"),
        (
            f"document.querySelector('#live').insertAdjacentHTML('beforeend', '{OPENED}')",
            "document.querySelector('#live details').remove()",
        ),
        ("getSelection().selectAllChildren(document.querySelector('#live h2'))", "getSelection().empty()"),
    ],
)
def test_refresh_leaves_alone_what_is_in_use(console: Console, use: str, leave: str) -> None:
    page = console.page
    console.open("/dead-letters")
    page.evaluate("document.querySelector('#live').dataset.old = 'yes'")
    page.evaluate(use)
    page.evaluate(REFRESH)
    page.wait_for_selector("#refresh-note:has-text('Not refreshed while')")
    assert page.get_attribute("#live", "data-old") == "yes"

    page.evaluate(leave)
    page.evaluate(REFRESH)
    page.wait_for_selector("#live:not([data-old])")
    assert page.inner_text("#refresh-note") == ""
    assert console.complaints == []


def test_failed_refresh_says_how_old_the_page_is(console: Console) -> None:
    page = console.page
    console.open("/dead-letters")
    page.route("**/console/dead-letters", lambda route: route.abort())
    # The promise of a request that fails is rejected.
    page.evaluate(f"void {REFRESH}.catch(() => null)")
    page.wait_for_selector("#refresh-note:has-text('The refresh failed. This is the state of')")

    page.unroute_all()
    page.evaluate(REFRESH)
    page.wait_for_function("document.querySelector('#refresh-note').textContent === ''")


def test_refresh_shows_the_end_of_a_prediction_in_the_whole_page(console: Console, api: ApiClient) -> None:
    page = console.page
    console.complaints.clear()
    prediction = api.create(LAB, HELD_INPUT)
    console.open(f"/predictions/{api.tenant}/{prediction['id']}")
    page.click("summary:has-text('Cancel…')")
    api.call("POST", f"/v1/predictions/{prediction['id']}/cancel", {}).raise_for_status()
    api.wait_until_finished(prediction["id"])
    # What the operator has opened stays.
    page.wait_for_selector("#refresh-note:has-text('Not refreshed while')")
    assert page.is_visible("button:has-text('Cancel the prediction')")

    page.click("summary:has-text('Cancel…')")
    page.evaluate("document.activeElement.blur()")
    page.wait_for_selector("h1 .badge:text-is('canceled')")
    assert page.is_visible("summary:has-text('Delete…')")
    assert page.locator("summary:has-text('Cancel…')").count() == 0
    assert console.complaints == []


def test_form_is_sent_once_when_it_is_clicked_twice(console: Console, api: ApiClient) -> None:
    page = console.page
    console.open(f"/deliveries?tenant={api.tenant}")
    page.fill("#url", "http://127.0.0.1:9/hook")
    page.dblclick("button:text-is('Register')")
    page.wait_for_selector(".secret")

    assert len(api.call("GET", "/v1/webhooks/endpoints").json()["results"]) == 1
