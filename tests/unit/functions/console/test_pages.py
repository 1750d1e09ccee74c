"""What all pages of the console have in common: headers, files, errors."""

from __future__ import annotations

import os
import re

import boto3
import pytest

from tests.support.console import OPERATOR_PAGES, SHARED_PAGES, Browser, make_finished_job


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


def test_unavailable_table_is_an_error_that_says_what_to_do(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3.client("dynamodb").delete_table(TableName=os.environ["REPLICATE_PROXY_TABLE"])
    page = operator.get("/predictions?tenant=acme")
    assert page.status in {500, 503}
    assert "To the overview" in page.text
    assert "Traceback" not in page.html
