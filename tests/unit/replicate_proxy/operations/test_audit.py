"""The admin API records its changes, and lists, exports and verifies the records."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.audit.model import AuditAction
from replicate_proxy.jobs.model import EndReason, JobStatus
from tests.support.accounts import OWN_SECRET
from tests.support.admin_api import NEW_SECRET
from tests.support.builders import make_job
from tests.support.clock import NOW

if TYPE_CHECKING:
    from tests.support.admin_api import AdminApi

# What is changed by the console, where tenants act, too (tests/unit/functions/console/).
CONSOLE_ACTIONS = frozenset(
    {
        AuditAction.CREATE_CONSOLE_LINK,
        AuditAction.OPEN_CONSOLE_LINK,
        AuditAction.CREATE_PREDICTION,
        AuditAction.CANCEL_BATCH,
        AuditAction.CREATE_ENDPOINT,
        AuditAction.UPDATE_ENDPOINT,
        AuditAction.DELETE_ENDPOINT,
        AuditAction.TEST_ENDPOINT,
    }
)
# The records of workers, see bulk/test_bulk_operations.py and erasure/test_erasure.py.
WORKER_ACTIONS = frozenset(
    {AuditAction.END_BULK_OPERATION, AuditAction.EMPTY_TENANT, AuditAction.END_ERASURE}
)
API_ACTIONS = frozenset(AuditAction) - CONSOLE_ACTIONS - WORKER_ACTIONS
TOKEN = "r8_TheTokenOfAcmeAtReplicate0001"
ENTRY = {"target": "acme/model", "forced": {"api_token": "a secret value"}}


def find_records(api: AdminApi, **query: str) -> list[dict[str, Any]]:
    status, page = api.call("GET", "audit", **query)
    assert status == 200
    results: list[dict[str, Any]] = page["results"]
    return results


def make_every_change(api: AdminApi) -> dict[str, Any]:
    """Make each change of the admin API once; return the created key."""
    _, key = api.call("POST", "keys", {"tenant": "acme", "name": "first"})
    api.call("PATCH", f"keys/{key['id']}", {"name": "second"})
    api.call("POST", f"keys/{key['id']}/rotate", {"overlap_seconds": 60})
    api.call("PUT", f"keys/{key['id']}/budget", {"day_usd": "5"})
    api.call("DELETE", f"keys/{key['id']}/budget")
    api.call("DELETE", f"keys/{key['id']}")
    api.call("PUT", "tenants/acme", {"display_name": "Acme"})
    api.accounts.names[TOKEN] = "acme-corp"
    api.call("PUT", "tenants/acme/replicate-token", {"token": TOKEN})
    api.call("DELETE", "tenants/acme/replicate-token")
    api.call("PUT", "models/team/fast", ENTRY)
    api.call("PUT", "models", {"models": [{"name": "team/other", "target": "acme/other"}]})
    api.call("DELETE", "models/team/other")
    api.call("PUT", "tenants/acme/concurrency", {"max_concurrency": 3})
    api.call("DELETE", "tenants/acme/concurrency")
    api.call("POST", "pause", {"mode": "hold", "tenant": "acme", "reason": "test"})
    api.call("POST", "resume", {"tenant": "acme"})
    api.call("POST", "queues/dispatch/redrive", {"tenant": "acme"})
    api.call("POST", "queues/dispatch/discard", {"tenant": "acme"})
    period = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    _, replay = api.call("POST", "replays", period)
    api.call("POST", f"replays/{replay['id']}/cancel", {})
    api.call("POST", "breaker/trip", {"seconds": 60})
    api.call("POST", "breaker/reset", {})
    api.call("POST", "tenants/acme/redeliver", {"since": "2026-01-01T00:00:00Z"})
    api.call("POST", "tenants/acme/deliveries/d1/redeliver", {})
    job = make_job(JobStatus.FAILED, end_reason=EndReason.REPORTED, created_at=NOW - timedelta(seconds=1))
    api.jobs.create(job)
    for action in ("cancel", "redeliver", "harvest", "retry"):
        api.call("POST", f"jobs/acme/{job.id}/{action}", {})
    body = {"action": "retry", "filter": {"status": "failed"}, "expected_count": 1}
    operation = api.call("POST", "bulk-operations", body)[1]
    api.call("POST", f"bulk-operations/{operation['id']}/cancel", {})
    api.call("POST", f"jobs/acme/{job.id}/delete", {})
    api.secret = NEW_SECRET
    api.call("POST", "webhook-secret/refresh", {})
    api.call("DELETE", "tenants/acme", {"confirm": "acme"})
    return dict(key)


def test_every_change_is_recorded_once_without_secrets(admin_api: AdminApi) -> None:
    key = make_every_change(admin_api)

    records = find_records(admin_api, limit="100")

    assert {record["action"] for record in records} == API_ACTIONS
    assert len(records) == len(API_ACTIONS)
    assert {record["key_name"] for record in records} == {"key op"}
    text = str(records)
    secrets = (key["key"], key["key"].rpartition("_")[2], NEW_SECRET, TOKEN, OWN_SECRET)
    for secret in (*secrets, "a secret value", "digest': '"):
        assert secret not in text


def test_record_has_the_state_before_and_after(admin_api: AdminApi) -> None:
    key = make_every_change(admin_api)
    by_action = {record["action"]: record for record in find_records(admin_api, limit="100")}

    update = by_action["key.update"]
    assert (update["before"]["name"], update["after"]["name"]) == ("first", "second")
    assert (update["target"], update["tenant"]) == (f"keys/{key['id']}", "acme")
    assert by_action["key.revoke"]["before"]["revoked_at"] is None
    assert by_action["key.revoke"]["after"]["revoked_at"] is not None
    assert by_action["key.create"]["before"] is None
    assert by_action["erasure.start"]["before"]["settings"]["display_name"] == "Acme"
    assert by_action["erasure.start"]["after"]["status"] == "running"
    assert by_action["budget.put"]["after"]["day_micro_usd"] == 5_000_000
    assert (by_action["concurrency.put"]["before"], by_action["concurrency.put"]["after"]) == (None, 3)
    assert by_action["concurrency.delete"]["before"] == 3
    assert by_action["replicate_token.put"]["after"]["current"]["name"] == "acme-corp"
    assert by_action["replicate_token.delete"]["after"]["current"] is None
    assert by_action["pause"]["after"]["reason"] == "test"
    assert by_action["resume"]["before"] == by_action["pause"]["after"]
    assert by_action["models.replace"]["before"]["team/fast"]["forced"]["api_token"].startswith("sha256:")
    assert list(by_action["models.replace"]["after"]) == ["team/other"]
    assert by_action["breaker.trip"]["before"]["state"] == "closed"
    assert by_action["deliveries.redeliver"]["after"] == {"redelivered": 5}
    assert by_action["delivery.redeliver"]["outcome"] == "unknown"


def test_reads_and_invalid_requests_are_not_recorded(admin_api: AdminApi) -> None:
    admin_api.call("GET", "keys")
    admin_api.call("POST", "keys", {"tenant": "NO"})
    admin_api.call("DELETE", "keys/unknown")
    admin_api.call("POST", "keys", {"tenant": "acme"}, scopes="predictions:write")

    assert find_records(admin_api) == []


def test_list_filters_and_pages(admin_api: AdminApi) -> None:
    for number in range(5):
        admin_api.call("PUT", f"tenants/t{number}", {})
        admin_api.clock.advance(60)
    admin_api.call("POST", "breaker/reset", {})

    found = find_records(
        admin_api, action="tenant.put", since="2026-01-31T09:31:00Z", until="2026-01-31T09:34:00Z"
    )
    assert [record["tenant"] for record in found] == ["t3", "t2", "t1"]
    assert [record["action"] for record in find_records(admin_api, target="breaker")] == ["breaker.reset"]
    assert len(find_records(admin_api, key_id="op")) == 6
    assert find_records(admin_api, key_id="other") == []

    _, page = admin_api.call("GET", "audit", limit="4")
    cursor = page["next"].rpartition("cursor=")[2]
    _, rest = admin_api.call("GET", "audit", limit="4", cursor=cursor)
    assert [record["sequence"] for record in [*page["results"], *rest["results"]]] == [6, 5, 4, 3, 2, 1]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("action", "key.steal"),
        ("since", "yesterday"),
        ("limit", "0"),
        ("limit", "101"),
        ("format", "csv"),
        ("cursor", "abc"),
        ("who", "op"),
        pytest.param("key_id", "k" * 2049, id="long key_id"),
        pytest.param("tenant", "é" * 1025, id="long tenant"),
        pytest.param("target", "t" * 2049, id="long target"),
    ],
)
def test_invalid_parameter_is_named(admin_api: AdminApi, name: str, text: str) -> None:
    status, problem = admin_api.call("GET", "audit", **{name: text})

    assert (status, problem["invalid_fields"][0]["field"]) == (400, name)


def test_chain_is_verified(admin_api: AdminApi) -> None:
    make_every_change(admin_api)

    status, result = admin_api.call("GET", "audit/verification")

    assert status == 200
    assert (result["valid"], result["checked"], result["next"]) == (True, len(API_ACTIONS), None)
    assert result["head"]["sequence"] == len(API_ACTIONS)


def test_command_line_is_recorded_as_source(admin_api: AdminApi) -> None:
    admin_api.user_agent = "proxyctl/1.0"
    admin_api.call("POST", "breaker/reset", {})

    assert find_records(admin_api)[0]["source"] == "cli"


def test_export_has_one_record_a_line_and_links_its_next_part(admin_api: AdminApi) -> None:
    make_every_change(admin_api)

    first = admin_api.send("GET", "audit", query={"format": "jsonl", "limit": "20"})
    cursor = first["headers"]["link"].partition("cursor=")[2].partition(">")[0]
    rest = admin_api.send("GET", "audit", query={"format": "jsonl", "limit": "20", "cursor": cursor})

    assert first["headers"]["content-type"] == "application/x-ndjson"
    assert "link" not in rest["headers"]
    lines = [json.loads(line) for line in (first["body"] + rest["body"]).splitlines()]
    assert [line["sequence"] for line in lines] == list(range(len(API_ACTIONS), 0, -1))
    assert lines == find_records(admin_api, limit="100")
