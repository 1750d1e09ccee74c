"""Operators find the predictions of all tenants on the deployed stack, and read their stories."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from rich.text import Text

from proxyctl.story import tell_story
from tests.integration.api_client import ApiClient
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.local.stack import Stack


def test_failed_prediction_is_found_and_its_story_told(stack: Stack, make_key: Callable[..., str]) -> None:
    tenant = f"searched-{secrets.token_hex(4)}"
    admin = ApiClient(stack.api_url, stack.admin_key)
    api = ApiClient(stack.api_url, make_key(tenant))
    failed = api.create("local/lab", {"status": "failed", "error": "bad input"})
    done = api.create("local/lab", {"output": "done"})
    for job in (failed, done):
        api.wait_until_finished(job["id"])

    def find(query: str) -> list[str]:
        response = admin.call("GET", f"/admin/jobs?tenant={tenant}&{query}")
        assert response.status_code == 200, response.text
        return [job["id"] for job in response.json()["results"]]

    assert wait_for(lambda: find("status=failed"), timeout_seconds=20, description="the index") == [
        failed["id"]
    ]
    assert find("error_class=reported") == [failed["id"]]
    assert find("status=succeeded") == [done["id"]]
    assert find("status=unfinished") == []
    assert find("") == [done["id"], failed["id"]]
    counts = admin.call("GET", "/admin/jobs/counts").json()
    assert counts["complete"]
    shown = admin.call("GET", f"/admin/jobs/{tenant}/{done['id']}").json()
    assert (shown["output"], shown["operator"]["error_class"]) == ("done", "harvested")

    story: dict[str, Any] = admin.call("GET", f"/admin/jobs/{tenant}/{failed['id']}/story").json()
    names = [event["name"] for event in story["events"] if event["kind"] == "step"]
    assert names[0] == "accepted"
    assert names[-1] == "finished"
    assert story["events"][-1]["details"]["error"] == "bad input"

    lines = [Text.from_markup(line).plain for line in tell_story(story, stack.get_client("logs"))]
    assert any("dispatch" in line for line in lines)
    assert any("step finished" in line for line in lines)
