"""What tenants and readers see and may do in the console."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.support.console import (
    OPERATOR_PAGES,
    SHARED_PAGES,
    Browser,
    get_key_store,
    list_audit,
    make_finished_job,
)


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
