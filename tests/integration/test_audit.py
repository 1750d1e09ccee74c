"""Changes by the admin API are in the audit trail of the deployed stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyctl.client import AdminClient
from tests.integration.api_client import ApiClient

if TYPE_CHECKING:
    from tools.local.stack import Stack


def test_changes_are_recorded_and_the_chain_is_whole(stack: Stack) -> None:
    admin = ApiClient(stack.api_url, stack.admin_key)
    key = admin.call("POST", "/admin/keys", {"tenant": "audited", "name": "first"}).json()
    admin.call("PATCH", f"/admin/keys/{key['id']}", {"name": "second"})
    AdminClient(stack.api_url, stack.admin_key).call("DELETE", f"/admin/keys/{key['id']}")

    page = admin.call("GET", f"/admin/audit?target=keys/{key['id']}").json()

    assert page["next"] is None
    revoked, updated, created = page["results"]
    assert [record["action"] for record in (created, updated, revoked)] == [
        "key.create",
        "key.update",
        "key.revoke",
    ]
    assert {record["outcome"] for record in page["results"]} == {"succeeded"}
    assert {record["tenant"] for record in page["results"]} == {"audited"}
    assert (updated["before"]["name"], updated["after"]["name"]) == ("first", "second")
    assert [record["source"] for record in page["results"]] == ["cli", "api", "api"]
    assert created["key_name"] != ""
    assert key["key"].rpartition("_")[2] not in str(page)
    verification = admin.call("GET", "/admin/audit/verification").json()
    assert verification["valid"]
    assert verification["head"]["sequence"] >= revoked["sequence"]
    exported = admin.call("GET", f"/admin/audit?target=keys/{key['id']}&format=jsonl").text
    assert len(exported.splitlines()) == 3
