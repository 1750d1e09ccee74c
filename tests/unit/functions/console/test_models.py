"""The console's pages of model entries."""

from __future__ import annotations

import re

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
