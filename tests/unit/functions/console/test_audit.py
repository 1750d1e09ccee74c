"""The console's page of the audit trail."""

from __future__ import annotations

import json
import re

import pytest

from replicate_proxy.console.pages import audit
from tests.support.console import (
    HOSTILE,
    Browser,
    find_link,
    store_failed_job,
)


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
