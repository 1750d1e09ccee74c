"""How the console is used: forms that are sent twice, filters, and the way from one page to the next."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import boto3
import pytest

from replicate_proxy.auth.principal import Scope
from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.usage_store import DynamoUsageReports
from replicate_proxy.console.pages import audit, deliveries, overview, predictions, usage
from replicate_proxy.errors import RetryableError
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import Batch, Document, EndReason, JobStatus, Submission, SubmissionKind
from replicate_proxy.operations.job_search import JobSearch
from replicate_proxy.operations.queues import QueueMonitor
from replicate_proxy.operations.tenants import TenantService
from replicate_proxy.usage.model import UsageCounts, UsageEntry, UsageKey
from replicate_proxy.usage.report import UsageReader
from tests.support.aws import DELIVERIES_TABLE, JOBS_TABLE
from tests.support.builders import make_job
from tests.support.console import Browser, console_account, get_job_store, store_job, store_key
from tests.support.webhook_builders import make_attempt, make_delivery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.jobs.model import Job
    from tests.support.console import Page


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with console_account(monkeypatch):
        yield


@pytest.fixture
def operator() -> Browser:
    browser = Browser()
    assert browser.sign_in(store_key(Scope.ADMIN, tenant="operator", name="op")).status == 303
    return browser


@pytest.fixture
def tenant() -> Browser:
    browser = Browser()
    assert browser.sign_in(store_key()).status == 303
    return browser


def store_failed_job() -> Job:
    return store_job(
        make_job(
            JobStatus.FAILED,
            created_at=datetime.now(UTC),
            model="acme/flux",
            submission=Submission(kind=SubmissionKind.MODEL, owner="acme", name="flux"),
            input=Document(text='{"prompt": "a cat"}'),
        )
    )


def read_idempotency_key(page: Page) -> str:
    return str(re.findall(r'name="idempotency_key" value="([^"]+)"', page.html)[0])


def read_job_id(page: Page) -> str:
    return page.location.split("/")[3].partition("?")[0]


def count_jobs() -> int:
    return len(get_job_store().list_jobs("acme", before_id=None, min_id=None, limit=50).jobs)


def test_run_again_creates_one_prediction_when_its_form_is_sent_twice(tenant: Browser) -> None:
    job = store_failed_job()
    path = f"/predictions/acme/{job.id}/run"
    key = read_idempotency_key(tenant.get(path))
    form = {"input": '{"prompt": "a dog"}', "idempotency_key": key}

    first, second = tenant.post(path, form), tenant.post(path, form)

    assert read_job_id(first) == read_job_id(second)
    assert count_jobs() == 2
    assert "The form was sent twice" in tenant.get(second.location).text
    # What the form shows after the back button, with another input.
    third = tenant.post(path, {**form, "input": '{"prompt": "a fox"}'})
    assert read_job_id(third) != read_job_id(first)
    # A form that is loaded again is another request.
    assert read_idempotency_key(tenant.get(path)) != key


def test_run_again_keeps_its_key_when_the_input_is_refused(tenant: Browser) -> None:
    job = store_failed_job()
    form = {"input": "{", "idempotency_key": "k1"}
    page = tenant.post(f"/predictions/acme/{job.id}/run", form)
    assert page.status == 422
    assert read_idempotency_key(page) == "k1"


def fail_to_read(*_: object, **__: object) -> None:
    raise RetryableError("the table does not answer")


def read_stats(page: Page) -> dict[str, str]:
    """Return the numbers at the top of the page by their names."""
    found = re.findall(r'class="stat[^"]*"[^>]*><b>([^<]*)</b><span>([^<]*)</span>', page.html)
    return {name: number for number, name in found}


def test_overview_says_what_cannot_be_read(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zero would say that nothing is stuck."""
    unread = ("overdue jobs", "dead letters", "ended today", "failed today", "spent today")
    assert all(read_stats(operator.get(""))[name] in {"0", "$0"} for name in unread)
    monkeypatch.setattr(QueueMonitor, "read", fail_to_read)
    monkeypatch.setattr(JobSearch, "summarize_unfinished", fail_to_read)
    monkeypatch.setattr(UsageReader, "report", fail_to_read)
    monkeypatch.setattr(TenantService, "list", fail_to_read)

    page = operator.get("")

    assert page.status == 200
    assert {read_stats(page)[name] for name in unread} == {"?"}
    for part in ("Queues", "Jobs", "Usage", "Budgets"):
        assert f"{part} cannot be read" in page.text
    for text in ("No dead letters", "No budgets", "Nothing has ended today", "No job is overdue"):
        assert text not in page.text


def test_overview_of_a_tenant_says_that_predictions_cannot_be_read(
    tenant: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DynamoJobStore, "list_jobs", fail_to_read)
    page = tenant.get("")
    assert page.status == 200
    assert "Predictions cannot be read" in page.text
    assert "succeeded" not in read_stats(page)


def test_overview_shows_the_budget_of_a_tenant_among_many(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        store_key(tenant=f"customer-{number:02}", name="backend")
    operator.post("/tenants/customer-49/budget", {"day_usd": "5", "month_usd": ""})
    page = operator.get("")
    assert "customer-49 day" in page.text
    assert "tenants among" not in page.text
    # One without keys, whose requests can come with JWTs.
    operator.post("/tenants/by-token/settings", {"display_name": "By token"})
    operator.post("/tenants/by-token/budget", {"day_usd": "6"})
    assert "by-token day" in operator.get("").text
    monkeypatch.setattr(overview, "_MAX_TENANTS_WITH_BUDGET", 1)
    assert "Of 1 tenants among 2; the others are on their own pages." in operator.get("").text


def find_link(page: Page, text: str) -> str | None:
    """Return where a button leads within the console, None without one."""
    found = re.findall(rf'<a class="button"[^>]* href="/prod/console([^"]*)">{text}</a>', page.html)
    return unescape(found[0]) if found else None


def test_later_pages_do_not_repeat_what_was_done(tenant: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "PAGE_SIZE", 1)
    for _ in range(2):
        store_failed_job()
    page = tenant.get("/predictions?status=failed&notice=prediction_deleted")
    assert "The prediction is deleted" in page.text
    older = find_link(page, "Older")
    assert older is not None
    assert "The prediction is deleted" not in tenant.get(older).text
    assert parse_qs(urlsplit(older).query).keys() == {"status", "cursor"}


def test_predictions_are_filtered_as_bulk_operations_are(operator: Browser, tenant: Browser) -> None:
    """What operators see is what they act on."""
    now = datetime.now(UTC)
    old = store_job(
        make_job(JobStatus.FAILED, created_at=now - timedelta(hours=3), end_reason=EndReason.EXPIRED)
    )
    new = store_job(make_job(JobStatus.QUEUED, created_at=now, batch_id=generate_id(now)))

    def find(browser: Browser, **query: str) -> set[str]:
        page = browser.get(f"/predictions?{urlencode(query)}")
        assert page.status == 200, page.text
        return set(re.findall(r"/console/predictions/acme/(\w+)", page.html))

    hour_ago = (now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for browser in (operator, tenant):
        assert find(browser, status="unfinished") == {new.id}
        assert find(browser, status="failed,queued") == {old.id, new.id}
        assert find(browser, error_class="expired") == {old.id}
        assert find(browser, batch=new.batch_id or "") == {new.id}
        assert find(browser, created_before=hour_ago) == {old.id}
        assert find(browser, created_after=hour_ago) == {new.id}
        assert find(browser, age="24h", created_after=hour_ago) == {new.id}
        assert find(browser, age="1h", created_after="2020-01-01T00:00:00Z") == {new.id}
    page = operator.get(f"/predictions?status=failed,queued&created_before={hour_ago}")
    assert "<option selected>failed,queued</option>" in page.html
    link = find_link(page, "Act on all that match…")
    assert link is not None
    assert parse_qs(urlsplit(link).query)["created_before"][0].startswith(hour_ago[:-1])
    assert "must be an ISO-8601 time with an offset" in tenant.get("/predictions?created_after=today").text
    assert "No prediction matches" in operator.get("/predictions?batch=" + generate_id(now)).text


def test_audit_trail_is_verified_once(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PAGE_SIZE", 1)
    for name in ("one", "two"):
        operator.post("/tenants/acme/settings", {"display_name": name})
    page = operator.get("/audit?verify=true")
    assert "records are unchanged" in page.text
    older = find_link(page, "Older")
    assert older is not None
    older_page = operator.get(older)
    assert "records are unchanged" not in older_page.text
    assert find_link(older_page, "Newest") == "/audit"


def test_audit_trail_leads_to_what_was_changed(operator: Browser) -> None:
    job = store_failed_job()
    operator.post(f"/predictions/acme/{job.id}/retry")
    operator.post("/tenants/acme/budget", {"day_usd": "5"})
    operator.post("/endpoints/acme", {"url": "https://app.example/hook"})
    endpoint_id = re.findall(r"/endpoints/acme/(\w+)", operator.get("/deliveries?tenant=acme").html)[0]
    operator.post(f"/endpoints/acme/{endpoint_id}/disable")
    entry = json.dumps({"target": "acme/other"})
    operator.post("/models/save", {"name": "acme/fast", "entry": entry, "etag": "*", "is_new": "true"})
    operator.post("/dead-letters/dispatch/redrive", {"tenant": "acme"})
    operator.post("/breaker/close")
    paths = set(re.findall(r'class="text mono"><a href="/prod/console([^"]+)"', operator.get("/audit").html))
    assert paths == {
        f"/predictions/acme/{job.id}",
        "/tenants/acme",
        f"/endpoints/acme/{endpoint_id}",
        "/models/acme/fast",
        "/dead-letters/dispatch",
    }
    assert all(operator.get(path).status == 200 for path in paths)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("batches/acme/b1", "/batches/acme/b1"),
        ("bulk-operations/o1", "/bulk-operations/o1"),
        ("tenants/acme/erasure", "/tenants/acme/erasure"),
        ("tenants/acme/replicate-token", "/tenants/acme"),
        ("endpoints", None),
        ("endpoints/ep_1", None),
        ("keys/k1", None),
        ("breaker", None),
    ],
)
def test_target_of_a_record_has_a_page(target: str, path: str | None) -> None:
    assert audit.find_target_path(target, None) == path


def test_sign_in_leads_back_to_the_filter(operator: Browser) -> None:
    path = "/predictions?tenant=acme&status=failed&metadata=order%3D4+%26+2&notice=cancel"
    page = Browser().get(path)
    (target,) = parse_qs(urlsplit(page.location).query)["next"]
    assert target == "/predictions?tenant=acme&status=failed&metadata=order%3D4+%26+2"
    secret = store_key(Scope.ADMIN, tenant="operator", name="op")
    assert Browser().post("/sign-in", {"key": str(secret), "next": target}).location == target
    assert operator.get(target).status == 200


def store_deliveries(count: int) -> None:
    store = DynamoDeliveryStore(boto3.client("dynamodb"), DELIVERIES_TABLE, due_shards=4)
    now = datetime.now(UTC)
    for age in range(count):
        created_at = now - timedelta(seconds=age)
        store.create(make_delivery(tenant="acme", job_id=generate_id(created_at), created_at=created_at))


def test_deliveries_lead_to_the_newest_from_every_page(
    tenant: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_PAGE_SIZE", 1)
    store_deliveries(2)
    first = tenant.get("/deliveries")
    assert find_link(first, "Newest") is None
    older = find_link(first, "Older")
    assert older is not None
    assert find_link(tenant.get(older), "Newest") == "/deliveries"


@pytest.mark.parametrize("paused", ["acme", ""])
def test_deliveries_say_that_webhooks_are_paused(operator: Browser, tenant: Browser, paused: str) -> None:
    """Their next attempts are in the past meanwhile."""
    tenant.post("/endpoints/acme", {"url": "https://app.example/hook"})
    endpoint_id = re.findall(r"/endpoints/acme/(\w+)", tenant.get("/deliveries").html)[0]
    paths = ("/deliveries?tenant=acme", f"/endpoints/acme/{endpoint_id}")
    assert not any("are paused" in operator.get(path).text for path in paths)
    operator.post("/pause", {"activity": "deliveries", "tenant": paused, "reason": "maintenance"})
    for browser in (operator, tenant):
        for path in paths:
            assert "Webhooks are paused. maintenance" in browser.get(path).text
    assert ("are paused" in operator.get("/deliveries?tenant=globex").text) == (paused == "")


def test_older_deliveries_are_found_after_an_endpoint_was_refused(
    tenant: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_PAGE_SIZE", 1)
    store_deliveries(2)
    page = tenant.post("/endpoints/acme", {"url": "ftp://example.com"})
    assert page.status == 422
    older = find_link(page, "Older")
    assert older is not None
    assert tenant.get(older).status == 200


def test_usage_says_how_many_rows_it_leaves_out(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums at the top count them."""
    monkeypatch.setattr(usage, "_MAX_ROWS", 1)
    today = datetime.now(UTC).date().isoformat()
    entries = [
        UsageEntry(UsageKey(tenant, today, "acme/flux", "key-1"), UsageCounts(succeeded=1))
        for tenant in ("acme", "globex", "initech")
    ]
    monkeypatch.setattr(
        DynamoUsageReports, "list_all_entries", lambda _, day: entries if day == today else []
    )
    page = operator.get("/usage")
    assert f"<b>{len(entries)}</b><span>ended</span>" in page.html
    assert page.text.count("The first 1 of 3 are shown; the API returns all.") == 1


def test_usage_keeps_a_tenant_without_keys_or_settings(operator: Browser) -> None:
    """Tenants of JWTs have neither: the form would show the usage of all the next time."""
    page = operator.get("/usage?tenant=by-token&days=30")
    assert "<option selected>by-token</option>" in page.html


def test_prediction_with_many_webhooks_fits_into_a_page(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_MAX_ROWS", 2)
    job = store_failed_job()
    store = DynamoDeliveryStore(boto3.client("dynamodb"), DELIVERIES_TABLE, due_shards=4)
    for sequence in range(3):
        store.create(make_delivery(tenant="acme", job_id=job.id, sequence=sequence))
        store.record_attempt(make_attempt(tenant="acme", job_id=job.id, sequence=sequence))
    page = operator.get(f"/predictions/acme/{job.id}")
    assert page.text.count("The last 2 of 3 are shown") == 2
    assert "Resend completed 0" not in page.html
    assert "Resend completed 2" in page.html
    # The story has the deliveries, their attempts, and the steps.
    assert re.search(r"The last 2 of [1-9]\d are shown|The last 2 of [7-9] are shown", page.text)
    assert "All 3 are sent again" in page.text


def test_dead_letter_of_a_batch_leads_to_the_batch(operator: Browser, tenant: Browser) -> None:
    now = datetime.now(UTC)
    batch = Batch(tenant="acme", id=generate_id(now), created_at=now, public_base_url="https://p.test")
    DynamoBatchStore(boto3.client("dynamodb"), JOBS_TABLE, get_job_store()).create(batch, [])
    body = json.dumps({"tenant": "acme", "job_id": batch.id, "sequence": 1, "target": "ep_1"})
    url = f"{os.environ['QUEUES_PREFIX']}notify-dead-letters"
    boto3.client("sqs").send_message(QueueUrl=url, MessageBody=body)
    assert f"/console/predictions/acme/{batch.id}" in operator.get("/dead-letters/notify").html
    for browser in (operator, tenant):
        page = browser.get(f"/predictions/acme/{batch.id}")
        assert (page.status, page.location) == (303, f"/batches/acme/{batch.id}")
    stranger = Browser()
    stranger.sign_in(store_key(tenant="globex"))
    assert stranger.get(f"/predictions/acme/{batch.id}").status == 404
    assert operator.get(f"/predictions/acme/{generate_id(now)}").status == 404


def test_budget_says_when_its_period_ends_and_what_counts_as_spent(operator: Browser) -> None:
    store_key(name="backend")
    operator.post("/tenants/acme/budget", {"day_usd": "5", "month_usd": "50"})
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    for path in ("", "/usage?tenant=acme", "/tenants/acme"):
        page = operator.get(path)
        assert f'day <small>ends <time datetime="{tomorrow:%Y-%m-%d}T00:00:00' in page.html, path
        assert "A prediction whose cost is not known has spent all that was reserved" in page.text


def read_revision(page: Page) -> str:
    return str(re.findall(r'name="revision" value="([^"]+)"', page.html)[0])


def test_settings_of_a_page_that_is_outdated_are_not_saved(operator: Browser) -> None:
    """Its form would make private outputs public again."""
    path = "/tenants/acme"
    for _ in range(2):
        revision = read_revision(operator.get(path))
        form = {"display_name": "Acme", "private_outputs": "true", "revision": revision}
        assert operator.post(f"{path}/settings", form).status == 303
        page = operator.post(f"{path}/settings", {"display_name": "Acme Ltd", "revision": revision})
        assert page.status == 409
        assert "They were changed since this page was opened" in page.text
        # What is stored is shown, and can be saved.
        assert 'name="private_outputs" value="true" checked' in page.html
        assert 'value="Acme"' in page.html
        assert read_revision(page) != revision


def test_form_of_a_tenant_shows_what_was_typed_with_what_is_wrong(operator: Browser) -> None:
    operator.post("/tenants/acme/settings", {"display_name": "Acme", "private_outputs": "true"})
    key = {"name": "backend", "scopes": ["predictions:read"], "allowed_ips": "203.0.113.0/24, nowhere"}
    page = operator.post("/tenants/acme/keys", key)
    assert page.status == 422
    assert 'value="203.0.113.0/24, nowhere"' in page.html
    assert 'value="predictions:read" checked' in page.html
    assert 'value="predictions:write">' in page.html
    # The other forms are as they were.
    assert 'value="Acme"' in page.html
    assert 'name="private_outputs" value="true" checked' in page.html
    revision = read_revision(page)
    settings = {"display_name": "Acme Ltd", "retention": "soon", "revision": revision}
    page = operator.post("/tenants/acme/settings", settings)
    assert page.status == 422
    assert ('value="Acme Ltd"' in page.html, 'value="soon"' in page.html) == (True, True)
    assert 'name="private_outputs" value="true">' in page.html


@pytest.mark.parametrize(
    ("path", "form", "rule"),
    [
        ("/tenants/acme/budget", {"day_usd": "-3"}, "day_usd must be an amount in US dollars such as 12.50"),
        ("/tenants/acme/keys", {"allowed_models": "flux"}, "allowed_models.0 must be owner/name, owner/*"),
        ("/tenants/acme/replicate-token", {"token": "r8 x"}, "token must be printable ASCII characters"),
        (
            "/models/save",
            {"name": "fast", "entry": '{"target": "acme/fast"}', "etag": "*"},
            "name must be of the form owner/name",
        ),
        (
            "/models/save",
            {"name": "acme/fast", "entry": '{"target": "fast"}', "etag": "*"},
            "target must be owner/name, owner/name:version",
        ),
        (
            "/models/save",
            {"name": "acme/fast", "entry": '{"price": {"per_image": "3 cents"}}', "etag": "*"},
            "price.per_image must be an amount in US dollars such as 0.003",
        ),
    ],
)
def test_refused_text_says_what_it_must_be(
    operator: Browser, path: str, form: dict[str, str], rule: str
) -> None:
    page = operator.post(path, form)
    assert page.status == 422
    assert rule in page.text
    assert "pattern" not in page.text
