"""The console's pages of model entries."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest

from tests.support.console import Browser


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


def test_new_entry_does_not_replace_another_one(operator: Browser) -> None:
    form = {"name": "acme/fast", "entry": '{"target": "acme/model"}', "etag": "*", "is_new": "true"}
    assert operator.post("/models/save", form).status == 303

    again = operator.post("/models/save", {**form, "entry": "{}"})

    assert again.status == 422
    assert "has an entry already: change that one" in again.text
    assert "acme/model" in operator.get("/models/acme/fast").text


def test_entry_that_is_saved_as_it_is_shown_stays_the_same(operator: Browser) -> None:
    entry = {"fallbacks": [{"target": "acme/other"}], "fallback_on": [], "validate_input": False}
    form = {"name": "acme/fast", "entry": json.dumps(entry), "etag": "*", "is_new": "true"}
    assert operator.post("/models/save", form).status == 303

    page = operator.get("/models/acme/fast")

    (shown,) = re.findall(r"<textarea[^>]*>(.*?)</textarea>", page.html, re.DOTALL)
    fallback: dict[str, Any] = {"target": "acme/other", "fields": {}, "price": None}
    assert json.loads(unescape(shown)) == {**entry, "name": "acme/fast", "fallbacks": [fallback]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("NaN", "has a number or a nesting that is out of bounds"),
        ("1e999", "has a number or a nesting that is out of bounds"),
        ('"\\ud800"', "has half of a surrogate pair"),
    ],
)
def test_entry_with_what_the_api_refuses_is_refused(operator: Browser, value: str, expected: str) -> None:
    entry = f'{{"target": "acme/model", "defaults": {{"strength": {value}}}}}'

    page = operator.post("/models/save", {"name": "acme/fast", "entry": entry, "is_new": "true"})

    assert (page.status, expected in page.text) == (422, True)
    assert operator.get("/models/acme/fast").status == 404
