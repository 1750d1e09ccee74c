"""The console through its handler: sign-in, sessions, forms, tenants, and what each page changes."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import boto3
import pytest

from replicate_proxy.accounts.directory import CurrentAccount
from replicate_proxy.audit.model import AuditFilter
from replicate_proxy.auth.principal import Scope
from replicate_proxy.aws.account_store import DynamoAccountStore
from replicate_proxy.aws.audit_store import DynamoAuditStore
from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.bulk_store import DynamoBulkStore
from replicate_proxy.aws.console_store import MAX_ATTEMPTS_PER_MINUTE
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.large_batch_store import DynamoLargeBatchStore
from replicate_proxy.batches.model import (
    BatchPhase,
    LargeBatch,
    Line,
    LineStatus,
    dump_lines,
    name_lines_object,
)
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.clock import format_timestamp, truncate_to_milliseconds
from replicate_proxy.console.pages import predictions
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import (
    Batch,
    Cost,
    Document,
    EndReason,
    JobStatus,
    Submission,
    SubmissionKind,
    TimelineStep,
    Waiting,
    WaitReason,
)
from replicate_proxy.operations.bulk.model import BulkAction, BulkStatus, JobOutcome, JobResult
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes
from replicate_proxy.webhooks import redelivery
from replicate_proxy.webhooks.model import DeliveryStatus, EventKind
from tests.support.aws import AUDIT_TABLE, CONTROL_TABLE, DELIVERIES_TABLE, JOBS_TABLE
from tests.support.builders import make_job
from tests.support.console import Browser, console_account, get_job_store, get_key_store, store_job, store_key
from tests.support.handlers import clear_caches
from tests.support.url_keys import verify_signed_url
from tests.support.webhook_builders import make_delivery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.audit.model import AuditRecord
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.webhooks.model import Delivery
    from tests.support.console import Page

HOSTILE = """"><script>alert(1)</script><img src=x onerror='alert(2)'>"""
OPERATOR_PAGES = (
    *(
        "/bulk-operations",
        "/bulk-operations/new",
        "/bulk-operations/new?action=retry&status=failed",
        "/concurrency",
        "/replays",
        "/dead-letters",
        "/dead-letters/dispatch",
        "/models",
        "/models/new",
        "/tenants",
        "/tenants/acme",
    ),
    "/audit",
)
SHARED_PAGES = ("", "/predictions", "/batches", "/deliveries", "/usage")


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


@pytest.fixture
def reader() -> Browser:
    browser = Browser()
    assert browser.sign_in(store_key(Scope.PREDICTIONS_READ)).status == 303
    return browser


def list_audit() -> list[AuditRecord]:
    store = DynamoAuditStore(boto3.client("dynamodb"), AUDIT_TABLE)
    return list(store.list_records(AuditFilter(), before_position=None, limit=50).records)


def make_finished_job(**fields: object) -> Job:
    now = datetime.now(UTC)
    record = {
        "path": [0],
        "outcome": "compressed",
        "url": "https://cdn.test/outputs/a.webp",
        "thumbnail_url": "https://cdn.test/thumbs/a.webp",
        "bytes_before": 2000,
        "bytes_after": 1000,
        "width": 64,
        "height": 64,
    }
    defaults: dict[str, object] = {
        "created_at": now,
        "model": "acme/flux",
        "files": Document(text=json.dumps([record])),
        "output": Document(text='["https://cdn.test/outputs/a.webp"]'),
        "cost": Cost(micro_usd=3000, basis="1 image × $0.003"),
        "timeline": {TimelineStep.ACCEPTED: now, TimelineStep.FINISHED: now + timedelta(seconds=2)},
    }
    return store_job(make_job(JobStatus.SUCCEEDED, **{**defaults, **fields}))


def store_document(value: object) -> Document:
    """Store a JSON value as large ones are stored."""
    key = "records/acme/1/document.json"
    build_document_store().put(key, json.dumps(value).encode())
    return Document(object_key=key)


def store_large_batch(batch_id: str, now: datetime, **fields: Any) -> DynamoLargeBatchStore:
    """Store a batch that runs, and return the store."""
    large = LargeBatch(
        input_file=generate_id(now),
        object_key="files/acme/f",
        size_bytes=100,
        key_id="key-1",
        models=(),
        correlation_id="c-1",
        due_at=now,
        delete_at=now + timedelta(days=30),
        phase=BatchPhase.RUNNING,
        **fields,
    )
    batch = Batch(tenant="acme", id=batch_id, created_at=now, public_base_url="https://p.test", large=large)
    store = DynamoLargeBatchStore(boto3.client("dynamodb"), JOBS_TABLE)
    store.create(batch)
    return store


def store_ended_delivery(created_at: datetime, **fields: Any) -> Delivery:
    """Store a delivery to a prediction's own webhook."""
    delivery = make_delivery(
        tenant="acme",
        job_id=generate_id(created_at),
        created_at=created_at,
        finished_at=created_at,
        due_at=None,
        next_attempt_at=None,
        **{"status": DeliveryStatus.FAILED, **fields},
    )
    DynamoDeliveryStore(boto3.client("dynamodb"), DELIVERIES_TABLE, due_shards=4).create(delivery)
    return delivery


# Sign-in and sessions


def test_page_without_session_leads_to_sign_in_and_back() -> None:
    browser = Browser()
    page = browser.get("/predictions")
    assert (page.status, page.location) == (303, "/sign-in?next=%2Fpredictions")
    page = browser.post("/sign-in", {"key": str(store_key()), "next": "/predictions"})
    assert (page.status, page.location) == (303, "/predictions")
    assert browser.get("/predictions").status == 200


@pytest.mark.parametrize("target", ["//evil.test", "/\\evil.test", "https://evil.test", "/..//evil.test/?a"])
def test_sign_in_leads_to_no_other_site(target: str) -> None:
    page = Browser().post("/sign-in", {"key": str(store_key()), "next": target})
    assert page.headers["location"] == "/prod/console"


def test_cookie_is_protected_and_holds_no_secret() -> None:
    secret = store_key()
    header = Browser().post("/sign-in", {"key": str(secret)}).headers["set-cookie"]
    assert header.startswith("__Host-console=")
    assert {"Path=/", "HttpOnly", "SameSite=Strict", "Secure"} <= set(header.split("; "))
    assert "Domain" not in header
    assert secret.secret not in header


def test_cookie_without_https_has_no_prefix() -> None:
    browser = Browser(scheme="http")
    header = browser.post("/sign-in", {"key": str(store_key())}, origin="http://proxy.test").headers[
        "set-cookie"
    ]
    assert header.startswith("console=")
    assert "Secure" not in header


@pytest.mark.parametrize("key", ["", "rp_short", "rp_aaaaaaaaaaaa_" + "a" * 43])
def test_unknown_key_is_rejected_with_advice(key: str) -> None:
    page = Browser().post("/sign-in", {"key": key})
    assert page.status == 401
    assert "key" in page.text.lower()
    assert "set-cookie" not in page.headers


def test_key_without_read_scope_cannot_sign_in() -> None:
    page = Browser().post("/sign-in", {"key": str(store_key(Scope.FILES_WRITE))})
    assert page.status == 403
    assert "predictions:read" in page.text


def test_sign_in_is_limited_per_address(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr(type(clock), "now", lambda _: now)  # no new minute may begin meanwhile
    browser, other = Browser(), Browser(source_ip="203.0.113.8")
    statuses = [browser.post("/sign-in", {"key": "x"}).status for _ in range(MAX_ATTEMPTS_PER_MINUTE + 1)]
    assert statuses == [*[401] * MAX_ATTEMPTS_PER_MINUTE, 429]
    assert other.sign_in(store_key()).status == 303


def test_forged_and_foreign_cookies_are_no_session() -> None:
    browser = Browser()
    browser.sign_in(store_key())
    content, _, signature = browser.cookies["__Host-console"].partition(".")
    for value in (f"{content}x.{signature}", f"{content}.{'0' * 64}", "", "a.b", "é.x", "." * 9000):
        browser.cookies["__Host-console"] = value
        assert browser.get().status == 303


def test_revoked_key_ends_the_session(tenant: Browser) -> None:
    (key,) = get_key_store().list()
    get_key_store().save(replace(key, revoked_at=datetime.now(UTC)))
    assert tenant.get("/predictions").status == 303


def test_expired_key_ends_the_session(tenant: Browser) -> None:
    (key,) = get_key_store().list()
    get_key_store().save(replace(key, expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert tenant.get().status == 303


def test_rotation_without_overlap_ends_sessions_of_the_old_secret(operator: Browser) -> None:
    browser, secret = Browser(), store_key()
    browser.sign_in(secret)
    assert operator.post(f"/keys/{secret.key_id}/rotate", {"hours": "1"}).status == 200
    assert browser.get().status == 200
    assert operator.post(f"/keys/{secret.key_id}/rotate", {"hours": "0"}).status == 200
    assert browser.get().status == 303


def test_session_is_bound_to_the_addresses_of_the_key() -> None:
    browser = Browser()
    browser.sign_in(store_key(allowed_ips=("203.0.113.0/24",)))
    assert browser.get().status == 200
    browser.source_ip = "198.51.100.1"
    assert browser.get().status == 303


def test_session_ends_after_twelve_hours(tenant: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    later = datetime.now(UTC) + timedelta(hours=12, seconds=1)
    monkeypatch.setattr(type(clock), "now", lambda _self: later)
    assert tenant.get().status == 303


def test_sign_out_ends_the_session(tenant: Browser) -> None:
    page = tenant.post("/sign-out")
    assert (page.status, "Max-Age=0" in page.headers["set-cookie"]) == (303, True)
    assert tenant.get().status == 303


def test_part_of_page_without_session_makes_htmx_leave() -> None:
    page = Browser().get("/predictions", headers={"HX-Request": "true"})
    assert page.headers["hx-redirect"].endswith("/sign-in?next=%2Fpredictions")


# Forms


@pytest.mark.parametrize("origin", [None, "null", "https://evil.test", "http://proxy.test"])
def test_form_of_another_origin_is_rejected(operator: Browser, origin: str | None) -> None:
    assert operator.post("/pause", {"mode": "hold"}, origin=origin).status == 403
    assert Browser().post("/sign-in", {"key": str(store_key())}, origin=origin).status == 403
    assert list_audit() == []


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_form_without_token_of_the_session_is_rejected(operator: Browser, token: str) -> None:
    assert operator.post("/pause", {"mode": "hold"}, csrf=token).status == 403


def test_token_of_another_session_is_rejected(operator: Browser, tenant: Browser) -> None:
    assert operator.post("/pause", {"mode": "hold"}, csrf=tenant.token).status == 403
    assert operator.post("/pause", {"mode": "hold"}).status == 303


def test_json_is_no_form(operator: Browser) -> None:
    page = operator.send("POST", "/pause", body="{}", headers={"Content-Type": "application/json"})
    assert page.status == 415


# Headers and files


@pytest.mark.parametrize("path", ["/sign-in", "/predictions", "/nothing"])
def test_page_has_security_headers(operator: Browser, path: str) -> None:
    browser = Browser() if path == "/sign-in" else operator
    headers = browser.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_static_files_may_be_cached_for_ever_under_the_name_of_their_content() -> None:
    browser = Browser()
    names = re.findall(r"/static/([^\"]+)", browser.get("/sign-in").html)
    assert len(names) == 2
    for name in names:
        page = browser.get(f"/static/{name}")
        assert (page.status, "immutable" in page.headers["cache-control"]) == (200, True)
    assert browser.get("/static/console.000000000000.css").status == 404


def test_pages_have_no_inline_style_or_script(operator: Browser) -> None:
    job = make_finished_job()
    for path in (*SHARED_PAGES, *OPERATOR_PAGES, f"/predictions/acme/{job.id}", "/usage?tenant=acme"):
        html = operator.get(path).html
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=|javascript:", html), path


# Tenants


@pytest.mark.parametrize("path", OPERATOR_PAGES)
def test_pages_of_operators_do_not_exist_for_tenants(operator: Browser, tenant: Browser, path: str) -> None:
    assert operator.get(path).status == 200
    page = tenant.get(path)
    assert page.status == 404
    assert "deleted, or belong to another tenant" in page.text


@pytest.mark.parametrize("path", SHARED_PAGES)
def test_pages_are_narrowed_to_the_tenant(operator: Browser, tenant: Browser, path: str) -> None:
    assert operator.get(path).status == 200
    page = tenant.get(path)
    assert page.status == 200
    assert "Dead letters" not in page.text


def test_foreign_tenants_pages_are_404(tenant: Browser) -> None:
    job = make_finished_job(tenant="globex")
    for path in (
        f"/predictions/globex/{job.id}",
        f"/predictions/acme/{job.id}",
        f"/predictions/globex/{job.id}/run",
        "/predictions?tenant=globex",
        "/deliveries?tenant=globex",
        "/usage?tenant=globex",
        "/endpoints/globex/ep_1",
    ):
        assert tenant.get(path).status == 404, path
    for path in (
        f"/predictions/globex/{job.id}/cancel",
        f"/predictions/globex/{job.id}/run",
        "/endpoints/globex",
        "/deliveries/globex/resend",
        f"/deliveries/globex/{job.id}.1.prediction/redeliver",
        "/pause",
        "/tenants/acme/keys",
    ):
        assert tenant.post(path).status == 404, path


def test_reader_sees_no_form_and_may_not_post(reader: Browser) -> None:
    job = make_finished_job()
    page = reader.get(f"/predictions/acme/{job.id}")
    assert "read-only" in page.text
    assert "Run again" not in page.text
    assert re.findall(r'<form method="post" action="[^"]*/console(/[^"]*)"', page.html) == ["/sign-out"]
    assert reader.post(f"/predictions/acme/{job.id}/cancel").status == 403
    assert reader.post("/endpoints/acme", {"url": "https://a.test"}).status == 403
    assert reader.get(f"/predictions/acme/{job.id}/run").status == 403


def test_link_opens_the_view_of_a_tenant_once_and_read_only(operator: Browser) -> None:
    created = operator.post("/links", {"tenant": "acme"})
    (link,) = re.findall(r"https://proxy\.test/prod/console(/link\?token=[\w-]+)", created.html)
    guest = Browser()
    assert guest.get(link).status == 200
    token = link.partition("=")[2]
    assert guest.post("/link", {"token": token}).status == 303
    page = guest.get()
    assert "acme" in page.text
    assert "read-only" in page.text
    assert guest.get("/tenants").status == 404
    assert guest.get("/predictions?tenant=globex").status == 404
    assert guest.get("/predictions").status == 200
    assert Browser().post("/link", {"token": token}).status == 401
    assert [record.action for record in list_audit()] == ["console_link.open", "console_link.create"]


def test_link_ends_with_the_key_that_made_it(operator: Browser) -> None:
    html = operator.post("/links", {"tenant": "acme"}).html
    (token,) = re.findall(r"token=([\w-]+)", html)
    guest = Browser()
    guest.post("/link", {"token": token})
    (key,) = get_key_store().list()
    get_key_store().save(replace(key, revoked_at=datetime.now(UTC)))
    assert guest.get().status == 303


def test_tenants_make_no_links(tenant: Browser) -> None:
    assert tenant.post("/links", {"tenant": "acme"}).status == 404


# Predictions


def test_hostile_texts_are_shown_as_text(operator: Browser) -> None:
    job = make_finished_job(
        input=Document(text=json.dumps({"prompt": HOSTILE})),
        error=HOSTILE,
        model=HOSTILE,
        logs=Document(text=json.dumps(HOSTILE)),
        output=Document(text=json.dumps(["javascript:alert(1)", HOSTILE])),
        webhook="javascript:alert(1)",
        files=Document(
            text=json.dumps(
                [
                    {
                        "path": [0],
                        "outcome": "stored",
                        "url": "javascript:alert(1)",
                        "thumbnail_url": "https://cdn.test.evil.test/a",
                        "reason": HOSTILE,
                    }
                ]
            )
        ),
    )
    for path in (
        f"/predictions/acme/{job.id}",
        "/predictions?tenant=acme",
        f"/predictions/acme/{job.id}/run",
    ):
        html = operator.get(path).html
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert 'href="javascript' not in html
        assert "evil.test" not in re.sub(r"<pre.*?</pre>", "", html, flags=re.DOTALL)
        assert "&lt;script&gt;alert(1)" in html


def test_prediction_shows_files_cost_and_times(tenant: Browser) -> None:
    job = make_finished_job()
    page = tenant.get(f"/predictions/acme/{job.id}")
    assert 'src="https://cdn.test/thumbs/a.webp"' in page.html
    assert "2 kB → 1 kB −50 %" in page.text
    assert "1 image × $0.003" in page.text
    assert "in our queue" in page.text
    assert f'<time datetime="{job.created_at.isoformat(timespec="milliseconds")[:19]}' in page.html


def test_output_that_is_too_large_for_a_page_is_left_out(tenant: Browser) -> None:
    job = make_finished_job(output=store_document(["<tok>"] * 300_000))
    page = tenant.get(f"/predictions/acme/{job.id}")
    assert page.status == 200
    assert calculate_sent_bytes(page.html) < MAX_RESPONSE_BYTES
    url = f"GET {job.public_base_url}/v1/predictions/{job.id}"
    assert page.text.count(f"too large for this page. The API returns it: {url}.") == 2
    assert "Where the time went" in page.text


def test_first_of_many_files_are_shown(tenant: Browser) -> None:
    records = [{"path": [index], "outcome": "stored", "url": "https://cdn.test/a"} for index in range(1000)]
    job = make_finished_job(files=Document(text=json.dumps(records)))
    page = tenant.get(f"/predictions/acme/{job.id}")
    assert page.html.count('<div class="file">') == 200
    assert "The first 200 of 1,000 are shown" in page.text


def test_page_that_is_too_large_for_a_response_is_an_error(tenant: Browser) -> None:
    job = make_finished_job(input=store_document({"prompt": "<" * 2_000_000}))
    page = tenant.get(f"/predictions/acme/{job.id}/run")
    assert page.status == 500
    assert "Page too large" in page.text
    assert calculate_sent_bytes(page.html) < MAX_RESPONSE_BYTES


def test_private_files_are_shown_by_signed_urls(tenant: Browser) -> None:
    folder = "private/aa/bb/"
    url = f"https://cdn.test/{folder}00/a.webp"
    record = {"path": [0], "outcome": "stored", "url": url, "thumbnail_url": f"{url}-thumb"}
    job = make_finished_job(
        files=Document(text=json.dumps([record])),
        output=Document(text=json.dumps([url])),
        private_folder=folder,
    )

    shown = unescape(tenant.get(f"/predictions/acme/{job.id}").html)
    listed = unescape(tenant.get("/predictions").html)

    for page in (shown, listed):
        (thumbnail,) = re.findall(r'src="(https://cdn.test/private/[^"]+)"', page)
        assert verify_signed_url(thumbnail)[0] == f"{url}-thumb"
    (link,) = set(re.findall(r'href="(https://cdn.test/private/[^"]+)"', shown))
    assert verify_signed_url(link)[0] == url


def test_private_outputs_of_a_tenant_are_switched(operator: Browser) -> None:
    checked = 'name="private_outputs" value="true" checked'
    assert checked not in operator.get("/tenants/acme").html
    form = {"display_name": "Acme", "private_outputs": "true"}
    assert operator.post("/tenants/acme/settings", form).status == 303
    assert checked in operator.get("/tenants/acme").html
    assert json.loads(list_audit()[0].after)["private_outputs"] is True
    assert operator.post("/tenants/acme/settings", {"display_name": "Acme"}).status == 303
    assert checked not in operator.get("/tenants/acme").html


def test_list_filters_and_pages(tenant: Browser) -> None:
    now = datetime.now(UTC)
    jobs = [
        store_job(
            make_job(
                JobStatus.FAILED if index % 2 else JobStatus.SUCCEEDED,
                created_at=now - timedelta(minutes=index),
                model="acme/flux",
            )
        )
        for index in range(120)
    ]
    first = tenant.get("/predictions")
    assert first.html.count("/console/predictions/acme/") == 50
    (following,) = re.findall(r'rel="next" href="/prod/console([^"]+)"', first.html)
    second = tenant.get(following.replace("&amp;", "&"))
    assert jobs[0].id in first.html
    assert jobs[50].id in second.html
    failed = tenant.get("/predictions?status=failed&age=1h")
    assert failed.html.count("/console/predictions/acme/") == 30
    assert "No prediction matches" in tenant.get("/predictions?model=acme%2Fother").text
    assert tenant.get("/predictions?status=lost").status == 400


@pytest.mark.parametrize("name", ["path", "self", "template", "odd name"])
def test_next_page_keeps_parameters_of_any_name(
    tenant: Browser, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(predictions, "PAGE_SIZE", 1)
    for _ in range(2):
        make_finished_job()
    page = tenant.get(f"/predictions?{urlencode({name: 'x'})}")
    assert page.status == 200
    (next_url,) = re.findall(r'rel="next" href="([^"]*)"', page.html)
    assert parse_qs(urlsplit(unescape(next_url)).query).keys() == {name, "cursor"}


def test_waiting_and_progress_are_shown(tenant: Browser) -> None:
    now = datetime.now(UTC)
    waiting = Waiting(reason=WaitReason.TOKEN_REJECTED, until=now + timedelta(seconds=50))
    in_line = Waiting(reason=WaitReason.CONCURRENCY_LIMIT, limit="tenant/acme", max_concurrency=3)
    rejected = store_job(make_job(created_at=now, waiting=waiting))
    held = store_job(make_job(created_at=now, waiting=in_line))
    bar = Document(text=json.dumps(" 42%|████▏     | 21/50 [00:01<00:02]"))
    running = store_job(make_job(JobStatus.PROCESSING, created_at=now, logs=bar))

    assert "rejects the token" in tenant.get(f"/predictions/acme/{rejected.id}").text
    assert "(tenant, 3 at a time). 0 ahead" in tenant.get(f"/predictions/acme/{held.id}").text
    assert "21 of 50, 42 %" in tenant.get(f"/predictions/acme/{running.id}").text
    overview = tenant.get("").text
    assert "Processing 1" in overview
    assert "1 queued Replicate rejects the token" in overview
    assert "no limit" in overview


@pytest.mark.parametrize("name", ["operator", "tenant"])
def test_overview_names_the_days_that_its_charts_show(request: pytest.FixtureRequest, name: str) -> None:
    overview: Browser = request.getfixturevalue(name)
    page = overview.get("")

    charts = re.findall(r'<svg class="chart".*?</svg>', page.html, re.DOTALL)
    assert [chart.count('<g class="column">') for chart in charts] == [7, 7]
    assert page.text.count("in 7 days") == 2


def test_metadata_is_shown_and_filtered_by(tenant: Browser, operator: Browser) -> None:
    now = datetime.now(UTC)
    job = store_job(make_job(JobStatus.SUCCEEDED, created_at=now, metadata={"order": "4 & 2", "user": "7"}))
    other = store_job(make_job(JobStatus.SUCCEEDED, created_at=now, metadata={"order": "43"}))

    shown = tenant.get(f"/predictions/acme/{job.id}")
    (link,) = re.findall(r'href="[^"]*/console(/predictions\?metadata=order[^"]*)"', shown.html)
    found = tenant.get(unescape(link))
    assert (job.id in found.html, other.id in found.html) == (True, False)
    assert "must be pairs" in tenant.get("/predictions?metadata=order").text

    # The filter is kept on the way to a bulk operation.
    listed = operator.get(unescape(link))
    (link,) = re.findall(r'href="[^"]*/console(/bulk-operations/new\?[^"]*)"', listed.html)
    page = _count(operator, f"{unescape(link)}&action=redeliver")
    assert "1 prediction matches" in page.text
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.html))
    assert unescape(form["metadata"]) == "order=4 & 2"


def test_run_again_creates_a_prediction_with_the_edited_input(tenant: Browser) -> None:
    job = make_finished_job(
        submission=Submission(kind=SubmissionKind.MODEL, owner="acme", name="flux"),
        requested_model=None,
        metadata={"order": "42", "user": "7"},
    )
    page = tenant.get(f"/predictions/acme/{job.id}/run")
    assert "a cat" in page.html
    page = tenant.post(f"/predictions/acme/{job.id}/run", {"input": '{"prompt": "a dog"}'})
    assert page.status == 303
    created_id = page.location.split("/")[3].partition("?")[0]
    created = get_job_store().get("acme", created_id)
    assert created is not None
    assert (created.id != job.id, created.input.text) == (True, '{"prompt":"a dog"}')
    assert created.metadata == job.metadata
    assert created.public_base_url == "https://proxy.test/prod"
    queue = os.environ["DISPATCH_QUEUE_URL"]
    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(message["Body"])["job_id"] == created.id
    (record,) = list_audit()
    assert (record.action, record.source) == ("prediction.create", "console")
    assert record.target == f"jobs/acme/{job.id}"
    assert json.loads(record.after) == {"id": created.id, "model": "acme/flux"}


def test_operator_runs_again_for_the_tenant(operator: Browser) -> None:
    job = make_finished_job(submission=Submission(kind=SubmissionKind.MODEL, owner="acme", name="flux"))
    page = operator.post(f"/predictions/acme/{job.id}/run", {"input": "{}"})
    assert page.location.startswith("/predictions/acme/")


@pytest.mark.parametrize(("text", "expected"), [("{", "is not JSON"), ("[]", "input")])
def test_run_again_shows_the_typed_input_with_what_is_wrong(
    tenant: Browser, text: str, expected: str
) -> None:
    job = make_finished_job()
    page = tenant.post(f"/predictions/acme/{job.id}/run", {"input": text})
    assert page.status == 422
    assert expected in page.text
    assert f">{text}</textarea>" in page.html


def test_cancel_is_requested_and_recorded(tenant: Browser) -> None:
    job = store_job(make_job(JobStatus.QUEUED, created_at=datetime.now(UTC)))
    assert "Cancel" in tenant.get(f"/predictions/acme/{job.id}").text
    page = tenant.post(f"/predictions/acme/{job.id}/cancel")
    assert page.status == 303
    stored = get_job_store().get("acme", job.id)
    assert stored is not None
    assert stored.status is JobStatus.CANCELED
    assert [record.action for record in list_audit()] == ["job.cancel"]


def test_too_late_cancel_says_so(tenant: Browser) -> None:
    job = make_finished_job()
    page = tenant.post(f"/predictions/acme/{job.id}/cancel")
    assert (page.status, "Job has ended" in page.text) == (409, True)


def test_ended_prediction_is_deleted(tenant: Browser) -> None:
    job = make_finished_job()
    path = f"/predictions/acme/{job.id}"
    assert "Delete the prediction" in tenant.get(path).text

    page = tenant.post(f"{path}/delete")

    assert "/predictions" in page.location
    assert tenant.get(path).status == 404
    assert tenant.post(f"{path}/delete").status == 404
    assert {record.action for record in list_audit()} == {"job.delete"}


def test_operator_retries_a_failed_prediction_once(operator: Browser, tenant: Browser) -> None:
    job = store_job(make_job(JobStatus.FAILED, created_at=datetime.now(UTC), end_reason=EndReason.REPORTED))
    path = f"/predictions/acme/{job.id}"
    assert "Retry" in operator.get(path).text
    first, second = operator.post(f"{path}/retry"), operator.post(f"{path}/retry")
    assert first.location == second.location
    assert job.id not in first.location
    assert {record.action for record in list_audit()} == {"job.retry"}
    page = operator.post(f"{path}/redeliver")
    assert (page.status, "No deliveries" in page.text) == (409, True)
    page = operator.post(f"{path}/harvest")
    assert (page.status, "No output" in page.text) == (409, True)
    assert "Retry" not in tenant.get(path).text
    for action in ("retry", "harvest", "redeliver"):
        assert tenant.post(f"{path}/{action}").status == 404


# Bulk operations


def _count(operator: Browser, path: str) -> Page:
    """Return the count that the page of a chosen operation asks for once it is there."""
    page = operator.get(path)
    assert "Counting…" in page.text
    (link,) = re.findall(r'hx-get="[^"]*/console(/bulk-operations/new\?[^"]*)"', page.html)
    return operator.get(unescape(link))


def test_all_that_match_are_acted_on_once_confirmed(operator: Browser) -> None:
    now = datetime.now(UTC)
    for number in range(2):
        store_job(make_job(JobStatus.FAILED, created_at=now - timedelta(seconds=number + 1)))
    assert "Act on all that match" not in operator.get("/predictions").text
    listed = operator.get("/predictions?status=failed&tenant=acme")
    (link,) = re.findall(r'href="[^"]*/console(/bulk-operations/new\?[^"]*)"', listed.html)
    page = _count(operator, f"{unescape(link)}&action=retry")
    assert "2 predictions match" in page.text
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.html))
    del form["csrf"]

    wrong = operator.post("/bulk-operations", {**form, "expected_count": "3"})
    assert (wrong.status, "Count has changed" in wrong.text) == (409, True)
    started = operator.post("/bulk-operations", form)
    assert started.status == 303
    # A second click
    assert operator.post("/bulk-operations", form).location == started.location
    path = started.location.partition("?")[0]
    page = operator.get(path)
    assert "running" in page.text
    assert 'hx-trigger="every 2s"' in page.html
    assert path in operator.get("/bulk-operations").html

    assert operator.post(f"{path}/cancel").status == 303
    page = operator.get(path)
    assert "canceled" in page.text
    assert "hx-trigger" not in page.html
    assert [record.source for record in list_audit()] == ["console", "console"]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"action": "explode", "status": "failed", "expected_count": "1"}, "must be one of"),
        ({"action": "retry", "expected_count": "1"}, "at least one criterion"),
        ({"action": "retry", "status": "failed"}, "must be the number of predictions"),
        ({"action": "retry", "status": "failed", "expected_count": "0"}, "Nothing matches"),
        ({"action": "cancel", "status": "failed", "expected_count": "1"}, "cancel applies to"),
    ],
)
def test_bulk_operation_that_cannot_be_meant_is_not_started(
    operator: Browser, form: dict[str, str], expected: str
) -> None:
    page = operator.post("/bulk-operations", form)
    assert page.status in {409, 422}
    assert expected in page.text
    assert "No bulk operations" in operator.get("/bulk-operations").text


def test_operation_with_failures_is_not_shown_as_a_plain_success(operator: Browser) -> None:
    store_job(make_job(JobStatus.FAILED, created_at=datetime.now(UTC) - timedelta(seconds=1)))
    form = {"action": "retry", "status": "failed", "expected_count": "1"}
    path = operator.post("/bulk-operations", form).location.partition("?")[0]
    store = DynamoBulkStore(boto3.client("dynamodb"), JOBS_TABLE, clock, 30)
    operation = store.get(path.rpartition("/")[2])
    assert operation is not None
    (key,) = store.list_jobs(operation, 10)
    operation = store.replace(operation.record([JobResult(key, JobOutcome.FAILED, "Not found")], tries=0))
    store.replace(operation.end(BulkStatus.SUCCEEDED, datetime.now(UTC)))

    for page in (path, "/bulk-operations"):
        assert "ended with failures" in operator.get(page).text


@pytest.mark.parametrize("count", ["", "x", "-1", "9" * 5000])
def test_count_that_is_none_is_shown_beside_the_form(operator: Browser, count: str) -> None:
    form = {"action": "retry", "status": "failed", "expected_count": count}
    page = operator.post("/bulk-operations", form)
    assert page.status == 422
    assert "expected_count must be the number" in page.text
    assert '<option value="retry" selected>' in page.html


@pytest.mark.parametrize("action", BulkAction)
def test_bulk_operation_can_be_chosen_for_each_action(operator: Browser, action: BulkAction) -> None:
    page = operator.get(f"/bulk-operations/new?action={action.value}&tenant=acme")
    assert page.status == 200
    assert f'<option value="{action.value}" selected>' in page.html


def test_bulk_operations_are_not_for_tenants(tenant: Browser, operator: Browser) -> None:
    assert "Act on all" not in tenant.get("/predictions?status=failed").text
    form = {"action": "retry", "status": "failed", "expected_count": "1"}
    assert tenant.post("/bulk-operations", form).status == 404
    assert operator.get("/bulk-operations/01kg0000000000000000000000").status == 404
    assert operator.post("/bulk-operations/odd/cancel").status == 404


# Webhooks


def test_endpoint_is_registered_disabled_enabled_tested_and_deleted(tenant: Browser) -> None:
    created = tenant.post("/endpoints/acme", {"url": "https://example.com/hook", "events": ["completed"]})
    assert created.status == 200
    assert "whsec_" in created.text
    (path,) = re.findall(r"/console(/endpoints/acme/ep_\w+)", created.html)
    assert tenant.post(f"{path}/disable").status == 303
    assert "disabled" in tenant.get(path).text
    assert tenant.post(f"{path}/enable").status == 303
    assert tenant.post(f"{path}/test").status == 303
    shown = tenant.get(path)
    assert "test event" in shown.text
    assert "whsec_" not in shown.text
    assert tenant.post("/deliveries/acme/resend", {"hours": "24"}).status == 200
    assert tenant.post(f"{path}/delete").status == 303
    assert tenant.get(path).status == 404
    actions = {record.action for record in list_audit()}
    assert actions >= {"endpoint.create", "endpoint.update", "endpoint.test", "endpoint.delete"}


def test_resend_of_failed_goes_on_after_its_first_page(
    tenant: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "_PAGE_SIZE", 1)
    monkeypatch.setattr(redelivery, "_MAX_PAGES", 1)
    created_at = truncate_to_milliseconds(datetime.now(UTC)) - timedelta(hours=2)
    for number, status in enumerate(("succeeded", "failed", "failed")):
        store_ended_delivery(created_at + timedelta(seconds=number), status=DeliveryStatus(status))
    form, forms, titles = {"hours": "24"}, list[dict[str, str]](), list[str]()
    while form and len(titles) < 9:
        page = tenant.post("/deliveries/acme/resend", form)
        titles += re.findall(r"<h1>(.*?)</h1>", page.html)
        form = dict(re.findall(r'name="(hours|since|cursor)" value="([^"]*)"', page.html))
        forms.append(form)
    assert titles[:3] == [
        "0 deliveries are enqueued again",
        "1 delivery is enqueued again",
        "1 delivery is enqueued again",
    ]
    assert len({form["since"] for form in forms if form}) == 1
    assert "There are more deliveries" not in page.text


def test_webhook_of_a_batch_leads_to_the_batch(tenant: Browser) -> None:
    now = truncate_to_milliseconds(datetime.now(UTC))
    delivery = store_ended_delivery(now, kind=EventKind.BATCH_COMPLETED)
    path = f"/batches/acme/{delivery.job_id}"
    store_large_batch(delivery.job_id, now)
    page = tenant.get("/deliveries")
    assert re.findall(rf'href="/prod/console([^"]*{delivery.job_id})"', page.html) == [path]
    sent = tenant.post(f"/deliveries/acme/{delivery.id}/redeliver", {"back": "prediction"})
    assert (sent.status, sent.location.partition("?")[0]) == (303, path)
    shown = tenant.get(sent.location)
    assert (shown.status, "Batch of 0 lines" in shown.text) == (200, True)
    assert "The delivery is enqueued again." in shown.text


def test_resend_with_a_forged_position_is_rejected(tenant: Browser) -> None:
    for field in ("cursor", "since"):
        assert tenant.post("/deliveries/acme/resend", {"hours": "24", field: "x"}).status in {400, 422}


def test_forbidden_url_is_shown_beside_the_form(tenant: Browser) -> None:
    page = tenant.post("/endpoints/acme", {"url": "http://169.254.169.254/"})
    assert page.status == 422
    assert 'value="http://169.254.169.254/"' in page.html


# Operators


def test_dead_letters_are_shown_redriven_and_discarded(operator: Browser) -> None:
    sqs, url = boto3.client("sqs"), f"{os.environ['QUEUES_PREFIX']}dispatch-dead-letters"
    for job_id in ("j1", "j2"):
        body = {"kind": "submit", "tenant": "acme", "job_id": job_id, "correlation_id": HOSTILE}
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
    page = operator.get("/dead-letters/dispatch?body=true")
    assert "2 of 2 looked at" in page.text
    assert "<script>alert" not in page.html
    page = operator.post("/dead-letters/dispatch/discard", {})
    assert page.status == 422
    assert "1 message redriven" in operator.post("/dead-letters/dispatch/redrive", {"job_id": "j1"}).text
    assert "1 message discarded" in operator.post("/dead-letters/dispatch/discard", {"tenant": "acme"}).text
    assert "Every message was processed" in operator.get().text
    assert [record.source for record in list_audit()] == ["console", "console"]


def test_bodies_of_dead_letters_are_shown_as_far_as_they_fit(operator: Browser) -> None:
    sqs, url = boto3.client("sqs"), f"{os.environ['QUEUES_PREFIX']}dispatch-dead-letters"
    for _ in range(10):
        body = json.dumps({"tenant": "acme", "text": '"' * 120_000})
        sqs.send_message(QueueUrl=url, MessageBody=body)
    page = operator.get("/dead-letters/dispatch?body=true")
    assert page.status == 200
    assert "10 of 10 looked at" in page.text
    assert calculate_sent_bytes(page.html) < MAX_RESPONSE_BYTES
    shown = page.html.count('aria-label="Body"')
    assert shown > 1
    assert page.text.count("proxyctl dead-letters peek dispatch --bodies") == 10 - shown


def test_entry_is_saved_changed_only_from_its_present_state_and_deleted(operator: Browser) -> None:
    entry = '{"target": "black-forest-labs/flux-schnell", "description": "quick"}'
    form = {"name": "acme/fast", "entry": entry, "etag": "*", "is_new": "true"}
    assert operator.post("/models/save", form).status == 303
    assert "acme/fast" in operator.get("/models").text
    page = operator.get("/models/acme/fast")
    (etag,) = set(re.findall(r'name="etag" value="([^"]+)"', page.html))
    etag = etag.replace("&#34;", '"')
    changed = {"name": "acme/fast", "entry": '{"description": "other"}', "etag": etag}
    assert operator.post("/models/save", changed).status == 303
    conflict = operator.post("/models/save", changed)
    assert conflict.status == 412
    assert "Entries have changed" in conflict.text
    assert operator.post("/models/save", {**form, "entry": '{"nope": 1}'}).status == 422
    assert operator.post("/models/acme/fast/delete", {"etag": ""}).status == 303
    assert operator.get("/models/acme/fast").status == 404


def test_key_is_shown_once_rotated_and_revoked(operator: Browser) -> None:
    form = {"name": HOSTILE[:90], "scopes": ["predictions:read"], "allowed_ips": "203.0.113.0/24"}
    created = operator.post("/tenants/acme/keys", form)
    (secret,) = re.findall(r"rp_[a-z2-7]{12}_[0-9A-Za-z]{43}", created.text)
    shown = operator.get("/tenants/acme")
    assert secret not in shown.html
    assert "<script>" not in shown.html.replace("<script src=", "")
    assert Browser().sign_in(secret).status == 303
    key_id = secret.split("_")[1]
    rotated = operator.post(f"/keys/{key_id}/rotate", {"hours": "24"})
    assert secret not in rotated.text
    assert operator.post(f"/keys/{key_id}/revoke").status == 303
    assert "revoked" in operator.get("/tenants/acme").text
    assert Browser().sign_in(secret).status == 401
    assert operator.post("/tenants/acme/keys", {"allowed_ips": "nowhere"}).status == 422


@pytest.mark.parametrize("hours", ["nan", "inf", "-inf", "1e308", "-1", "169", "x"])
def test_overlap_of_a_rotation_that_is_out_of_range_is_rejected(operator: Browser, hours: str) -> None:
    page = operator.post(f"/keys/{store_key().key_id}/rotate", {"hours": hours})
    assert page.status == 422
    assert "hours" in page.text


def test_budget_settings_and_pause_of_a_tenant(operator: Browser) -> None:
    assert operator.post("/tenants/acme/budget", {"day_usd": "5", "month_usd": ""}).status == 303
    assert "$5.00" in operator.get("/tenants/acme").text
    assert "$5.00" in operator.get("/usage?tenant=acme").text
    assert operator.post("/tenants/acme/budget", {"day_usd": "much"}).status == 422
    assert operator.post("/tenants/acme/budget", {"day_usd": "", "month_usd": ""}).status == 303
    settings = {"display_name": HOSTILE, "retention": "7d"}
    assert operator.post("/tenants/acme/settings", settings).status == 303
    assert 'value="7d"' in operator.get("/tenants/acme").html
    assert operator.post("/tenants/acme/settings", {**settings, "retention": "soon"}).status == 422
    assert "<script>alert" not in operator.get("/tenants").html
    form = {"tenant": "acme", "mode": "refuse", "reason": HOSTILE}
    assert operator.post("/pause", form).location == "/tenants/acme?notice=predictions_paused"
    assert "Predictions are paused: new ones are refused" in operator.get("/tenants/acme").text
    assert operator.post("/resume", {"tenant": "acme"}).status == 303
    assert operator.post("/pause", {"mode": "hold"}).status == 303
    assert "Predictions of all tenants are paused." in operator.get().text
    assert operator.post("/resume").status == 303


def test_tenant_is_erased_after_its_name_is_typed(operator: Browser) -> None:
    created = operator.post("/tenants/initech/keys", {"name": "k", "scopes": ["predictions:read"]})
    (secret,) = re.findall(r"rp_[a-z2-7]{12}_[0-9A-Za-z]{43}", created.text)
    assert operator.get("/tenants/initech/erasure").status == 404
    for confirm in ("", "acme", "Initech"):
        refused = operator.post("/tenants/initech/erase", {"confirm": confirm})
        assert refused.status == 422
        assert "must be the name of the tenant" in refused.text
    assert Browser().sign_in(secret).status == 303

    assert (
        operator.post("/tenants/initech/erase", {"confirm": "initech"}).location == "/tenants/initech/erasure"
    )

    report = operator.get("/tenants/initech/erasure")
    assert "Waiting until nothing can arrive any more." in report.text
    assert "What stays" in report.text
    assert Browser().sign_in(secret).status == 401
    page = operator.get("/tenants/initech")
    assert "The tenant is being erased" in page.text
    assert "Type initech to confirm" not in page.text
    assert operator.post("/tenants/initech/settings", {"display_name": "x"}).status == 409
    assert operator.post("/tenants/initech/keys", {"name": "k"}).status == 409


def test_webhooks_are_paused_for_a_tenant_and_for_all(operator: Browser) -> None:
    form = {"activity": "deliveries", "tenant": "acme", "reason": "moving"}
    assert operator.post("/pause", form).location == "/tenants/acme?notice=deliveries_paused"
    assert "Webhooks are paused. moving" in operator.get("/tenants/acme").text
    assert "Predictions are paused" not in operator.get("/tenants/acme").text
    assert operator.post("/pause", {"activity": "deliveries", "back": "overview"}).location.startswith("?")
    assert "Webhooks of all tenants are paused" in operator.get().text
    for tenant in ("acme", ""):
        operator.post("/resume", {"activity": "deliveries", "tenant": tenant})
    assert "paused" not in operator.get("/tenants").text


def test_concurrency_limit_is_set_shown_and_removed(operator: Browser) -> None:
    form = {"tenant": "acme", "max_concurrency": "3"}
    assert operator.post("/concurrency", form).location == "/concurrency?notice=saved"
    assert operator.post("/concurrency", {**form, "back": "tenant"}).location == "/tenants/acme?notice=saved"
    assert "0 of 3 in use" in operator.get("/tenants/acme").text
    assert 'value="acme"' in operator.get("/concurrency").html
    assert operator.post("/concurrency", {"tenant": "acme", "max_concurrency": "0"}).status == 422
    assert operator.post("/concurrency", {"tenant": "No", "max_concurrency": "1"}).status == 422
    assert operator.post("/concurrency/remove", {"tenant": "acme"}).status == 303
    assert "No limits" in operator.get("/concurrency").text
    assert operator.post("/concurrency/remove", {"tenant": "acme"}).status == 404


def test_batch_is_shown_with_its_predictions_and_canceled(operator: Browser, tenant: Browser) -> None:
    batch_id = generate_id(datetime.now(UTC))
    jobs = [
        make_job(status, revision=0, batch_id=batch_id, created_at=datetime.now(UTC))
        for status in (JobStatus.SUCCEEDED, JobStatus.QUEUED)
    ]
    batch = Batch(
        tenant="acme",
        id=batch_id,
        created_at=jobs[0].created_at,
        public_base_url="https://proxy.test",
        job_ids=tuple(job.id for job in jobs),
    )
    DynamoBatchStore(boto3.client("dynamodb"), JOBS_TABLE, get_job_store()).create(batch, jobs)
    for browser in (operator, tenant):
        assert f"/batches/acme/{batch_id}" in browser.get("/batches").html
        page = browser.get(f"/batches/acme/{batch_id}")
        assert "1 of 2 ended" in page.text
        assert all(job.id in page.html for job in jobs)
    assert "No batches" in operator.get("/batches?tenant=globex").text

    assert tenant.post(f"/batches/acme/{batch_id}/cancel").status == 303
    assert "completed" in tenant.get(f"/batches/acme/{batch_id}").text
    assert list_audit()[0].target == f"batches/acme/{batch_id}"
    assert tenant.get(f"/batches/globex/{batch_id}").status == 404
    assert tenant.get("/batches/acme/unknown").status == 404


def test_large_batch_is_shown_with_its_lines_and_canceled(operator: Browser, tenant: Browser) -> None:
    now = truncate_to_milliseconds(datetime.now(UTC))
    batch_id = generate_id(now)
    lines = [
        Line(number=1, custom_id="first"),
        Line(number=2, custom_id="<b>", status=LineStatus.REJECTED, error="The line is not valid JSON"),
    ]
    job = store_job(
        make_job(
            JobStatus.FAILED,
            id=lines[0].derive_job_id(batch_id),
            batch_id=batch_id,
            batch_line=1,
            created_at=now,
        )
    )
    body = dump_lines(lines)
    boto3.client("s3").put_object(Bucket="images", Key=name_lines_object("acme", batch_id, 0, "t"), Body=body)
    store = store_large_batch(batch_id, now, line_objects=("t",), lines=2, created=1, rejected=1)
    path = f"/batches/acme/{batch_id}"
    for browser in (operator, tenant):
        assert path in browser.get("/batches").html
        page = browser.get(path)
        assert page.status == 200, page.text
        assert ("Batch of 2 lines" in page.text, "rejected lines" in page.text) == (True, True)
        assert f"/predictions/acme/{job.id}" in page.html
        assert ("The line is not valid JSON" in page.text, "<b>" in page.html.partition("Lines")[2]) == (
            True,
            False,
        )
        assert browser.get(f"{path}?slice=7").status == 200
        assert browser.get(f"{path}/results").status == 404

    assert tenant.post(f"{path}/cancel").status == 303
    canceled = store.get("acme", batch_id)
    assert canceled is not None
    assert canceled.large is not None
    assert canceled.large.cancel_requested_at is not None
    assert list_audit()[0].target == f"batches/acme/{batch_id}"
    assert f"{path}/cancel" not in tenant.get(path).html
    store.replace(
        replace(canceled, large=replace(canceled.large, completed_at=now, phase=BatchPhase.COMPLETED))
    )
    assert f"{path}/results" in tenant.get(path).html
    found = tenant.get(f"{path}/results")
    assert (found.status, f"batches/acme/{batch_id}/results.jsonl" in found.headers["location"]) == (
        303,
        True,
    )
    assert tenant.get(f"/batches/globex/{batch_id}").status == 404


def test_replays_need_an_archive(operator: Browser) -> None:
    assert "The event archive is off" in operator.get("/replays").text
    form = {"from": "2026-01-01T00:00", "to": "2026-01-02T00:00"}
    assert operator.post("/replays", form).status == 409


def test_replay_is_started_and_stopped(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    events = boto3.client("events")
    bus = events.describe_event_bus(Name="default")["Arn"]
    variables = {
        "EVENT_BUS": "default",
        "EVENT_ARCHIVE_ARN": events.create_archive(ArchiveName="a", EventSourceArn=bus)["ArchiveArn"],
        "HARVEST_RULE_ARN": events.put_rule(Name="h", EventPattern='{"source": ["x"]}')["RuleArn"],
        "TRACK_RULE_ARN": events.put_rule(Name="t", EventPattern='{"source": ["x"]}')["RuleArn"],
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    clear_caches()
    form = {"from": "2026-01-01T00:00", "to": "2026-01-02T00:00", "rules": ["harvest"]}
    assert operator.post("/replays", form).location == "/replays?notice=replay_started"
    assert "completed" in operator.get("/replays").text
    assert operator.post("/replays", {**form, "to": "2025-01-01T00:00"}).status == 422


def test_account_of_a_tenant_shows_no_token(operator: Browser) -> None:
    now = format_timestamp(datetime.now(UTC))
    current = CurrentAccount("acme-corp", now, "wxyz")
    store = DynamoAccountStore(ControlTable(boto3.client("dynamodb"), CONTROL_TABLE))
    store.change("acme", lambda accounts: accounts.with_current(current, now))
    page = operator.get("/tenants/acme")
    assert "acme-corp" in page.text
    assert "token missing" in page.text
    assert operator.post("/tenants/acme/replicate-token", {"token": "with space"}).status == 422
    assert operator.post("/tenants/acme/replicate-token/remove").status == 303
    assert "shared account" in operator.get("/tenants/acme").text


def test_operator_acts_on_a_prediction_and_sees_its_story(operator: Browser, tenant: Browser) -> None:
    now = datetime.now(UTC)
    job = store_job(
        make_job(
            JobStatus.FAILED,
            created_at=now,
            error="bad input",
            end_reason=EndReason.REPORTED,
            timeline={TimelineStep.ACCEPTED: now, TimelineStep.FINISHED: now + timedelta(seconds=2)},
        )
    )
    path = f"/predictions/acme/{job.id}"
    assert "Read on in the logs" in operator.get(path).text
    assert "Story" not in tenant.get(path).text
    refused = operator.post(f"{path}/harvest")
    assert refused.status == 409
    assert operator.post(f"{path}/redeliver").status == 409
    retried = operator.post(f"{path}/retry")
    assert retried.status == 303
    assert retried.location.endswith("notice=retried")
    assert "job.retry" in operator.get(path).text
    assert tenant.post(f"{path}/retry").status == 404


def test_breaker_is_opened_and_closed(operator: Browser) -> None:
    assert operator.post("/breaker/open", {"minutes": "10"}).status == 303
    assert "breaker open" in operator.get().text
    assert operator.post("/breaker/close").status == 303
    assert "breaker closed" in operator.get().text


@pytest.mark.parametrize("minutes", ["nan", "inf", "0", "-1", "1441", "1e308", "x"])
def test_breaker_is_not_opened_for_a_time_that_is_out_of_range(operator: Browser, minutes: str) -> None:
    page = operator.post("/breaker/open", {"minutes": minutes})
    assert page.status == 422
    assert "minutes" in page.text
    assert "breaker closed" in operator.get().text


def test_audit_trail_is_listed_filtered_and_verified(operator: Browser) -> None:
    operator.post("/pause", {"mode": "hold", "reason": HOSTILE})
    operator.post("/resume")
    page = operator.get("/audit?verify=true")
    assert "2 records are unchanged" in page.text
    assert "<script>alert" not in page.html
    assert "resume" not in re.sub(
        r"<select.*?</select>", "", operator.get("/audit?action=pause").html, flags=re.DOTALL
    )
    assert operator.get("/audit?action=nope").status == 400


def test_unavailable_table_is_an_error_that_says_what_to_do(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3.client("dynamodb").delete_table(TableName=os.environ["REPLICATE_PROXY_TABLE"])
    page = operator.get("/predictions?tenant=acme")
    assert page.status in {500, 503}
    assert "To the overview" in page.text
    assert "Traceback" not in page.html
