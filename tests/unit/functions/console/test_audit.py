"""The console's page of the audit trail."""

from __future__ import annotations

import re

from tests.support.console import HOSTILE, Browser


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
