"""API keys through the admin API, from creation to revocation."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.auth.keys import (
    MAX_PREVIOUS_DIGESTS,
    ApiKey,
    ApiKeySecret,
    KeyStatus,
    UsageLimits,
    verify_key,
)
from replicate_proxy.clock import format_timestamp
from tests.support.access import DIGEST_KEY, STAGE
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.admin_api import AdminApi


def get_status(admin_api: AdminApi, credential: str) -> KeyStatus:
    secret = ApiKeySecret.parse(credential)
    assert secret is not None
    return verify_key(admin_api.keys.get(secret.key_id), secret, DIGEST_KEY, admin_api.clock.now())


def test_created_key_is_valid_and_its_secret_is_shown_once(admin_api: AdminApi) -> None:
    status, created = admin_api.call("POST", "keys", {"tenant": "acme", "name": "ci"})
    assert status == 201
    assert get_status(admin_api, created["key"]) is KeyStatus.VALID
    _, shown = admin_api.call("GET", f"keys/{created['id']}")
    assert shown == {name: value for name, value in created.items() if name != "key"}
    _, listed = admin_api.call("GET", "keys")
    assert listed == {"results": [shown]}


def test_secret_and_digest_are_neither_stored_nor_shown(admin_api: AdminApi) -> None:
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    secret = created["key"].rpartition("_")[2]
    assert secret not in repr(admin_api.keys)
    assert admin_api.keys.keys[created["id"]].digest not in str(admin_api.call("GET", "keys"))


def test_created_key_has_requested_fields(admin_api: AdminApi) -> None:
    body = {
        "tenant": "acme",
        "scopes": ["predictions:read"],
        "allowed_ips": ["203.0.113.7", "2001:db8::/32"],
        "allowed_models": ["acme/*", "stability-ai/sdxl", "a" * 64],
        "expires_at": "2026-03-02T12:00:00+02:00",
    }
    _, created = admin_api.call("POST", "keys", body)
    assert created["scopes"] == ["predictions:read"]
    assert created["allowed_ips"] == ["203.0.113.7/32", "2001:db8::/32"]
    assert created["allowed_models"] == body["allowed_models"]
    assert created["expires_at"] == "2026-03-02T10:00:00.000Z"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "tenant"),
        ({"tenant": "ACME"}, "tenant"),
        ({"tenant": "acme", "scopes": ["root"]}, "scopes.0"),
        ({"tenant": "acme", "allowed_ips": ["10.0.0.1/8"]}, "allowed_ips.0"),
        ({"tenant": "acme", "allowed_models": ["sdxl"]}, "allowed_models.0"),
        ({"tenant": "acme", "expires_at": "2026-01-31T09:29:59Z"}, "expires_at"),
        ({"tenant": "acme", "expires_at": "2027-01-01T00:00:00"}, "expires_at"),
        ({"tenant": "acme", "expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"tenant": "acme", "expires_at": "0001-01-01T00:00:00+12:00"}, "expires_at"),
        ({"tenant": "acme", "limits": {"rate": 0, "burst": 1}}, "limits.rate"),
        ({"tenant": "acme", "limits": {"rate": 1, "burst": 1}}, "limits"),
        ({"tenant": "acme", "digest": "0"}, ""),
    ],
)
def test_create_rejects_invalid_body_and_names_field(admin_api: AdminApi, body: Any, field: str) -> None:
    status, problem = admin_api.call("POST", "keys", body)
    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)
    assert admin_api.keys.keys == {}


def test_list_filters_by_tenant(admin_api: AdminApi) -> None:
    for tenant in ("acme", "globex"):
        admin_api.call("POST", "keys", {"tenant": tenant})
    _, listed = admin_api.call("GET", "keys", tenant="globex")
    assert [key["tenant"] for key in listed["results"]] == ["globex"]


def test_rotated_key_has_two_valid_secrets_during_overlap(admin_api: AdminApi) -> None:
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    status, rotated = admin_api.call("POST", f"keys/{created['id']}/rotate", {"overlap_seconds": 3600})
    assert status == 200
    assert rotated["previous_secret_until"] == format_timestamp(NOW + timedelta(hours=1))
    assert get_status(admin_api, created["key"]) is KeyStatus.VALID
    assert get_status(admin_api, rotated["key"]) is KeyStatus.VALID
    admin_api.clock.advance(hours=1)
    assert get_status(admin_api, created["key"]) is KeyStatus.INVALID
    assert get_status(admin_api, rotated["key"]) is KeyStatus.VALID
    assert admin_api.gateway.flushed_stages == []


def test_rotation_without_overlap_invalidates_secret_and_flushes_cache(admin_api: AdminApi) -> None:
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    admin_api.call("POST", f"keys/{created['id']}/rotate", {"overlap_seconds": 0})
    assert get_status(admin_api, created["key"]) is KeyStatus.INVALID
    assert admin_api.gateway.flushed_stages == [STAGE]


def test_rotation_that_would_end_an_overlap_early_is_refused(admin_api: AdminApi) -> None:
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    path = f"keys/{created['id']}/rotate"
    for _ in range(MAX_PREVIOUS_DIGESTS):
        assert admin_api.call("POST", path, {"overlap_seconds": 3600})[0] == 200

    status, problem = admin_api.call("POST", path, {"overlap_seconds": 3600})

    assert (status, problem["title"]) == (409, "Too many valid secrets")
    assert get_status(admin_api, created["key"]) is KeyStatus.VALID
    assert admin_api.call("POST", path, {"overlap_seconds": 0})[0] == 200
    assert get_status(admin_api, created["key"]) is KeyStatus.INVALID


@pytest.mark.parametrize("overlap_seconds", [-1, 7 * 86_400 + 1, "a day"])
def test_rotation_rejects_overlap_out_of_bounds(admin_api: AdminApi, overlap_seconds: Any) -> None:
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    status, problem = admin_api.call(
        "POST", f"keys/{created['id']}/rotate", {"overlap_seconds": overlap_seconds}
    )
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "overlap_seconds")
    assert get_status(admin_api, created["key"]) is KeyStatus.VALID


def test_revoked_key_is_rejected_and_cannot_be_changed(admin_api: AdminApi) -> None:
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    status, revoked = admin_api.call("DELETE", f"keys/{created['id']}")
    assert status == 200
    assert revoked["revoked_at"] == revoked["effective_at"] == format_timestamp(NOW)
    assert get_status(admin_api, created["key"]) is KeyStatus.REVOKED
    assert admin_api.gateway.flushed_stages == [STAGE]
    assert admin_api.call("POST", f"keys/{created['id']}/rotate", {})[0] == 409
    assert admin_api.call("PATCH", f"keys/{created['id']}", {"name": "x"})[0] == 409


def test_revocation_is_effective_after_cache_ttl_when_flush_fails(admin_api: AdminApi) -> None:
    admin_api.gateway.can_flush = False
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    _, revoked = admin_api.call("DELETE", f"keys/{created['id']}")
    assert revoked["effective_at"] == format_timestamp(NOW + timedelta(seconds=60))


def test_second_revocation_changes_nothing(admin_api: AdminApi) -> None:
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    admin_api.call("DELETE", f"keys/{created['id']}")
    admin_api.clock.advance(hours=1)
    status, revoked = admin_api.call("DELETE", f"keys/{created['id']}")
    assert (status, revoked["revoked_at"]) == (200, format_timestamp(NOW))


def test_update_changes_only_named_fields(admin_api: AdminApi) -> None:
    _, created = admin_api.call(
        "POST", "keys", {"tenant": "acme", "name": "old", "allowed_ips": ["10.0.0.0/8"]}
    )
    status, updated = admin_api.call("PATCH", f"keys/{created['id']}", {"name": "new", "scopes": ["admin"]})
    assert status == 200
    unchanged = {name: value for name, value in created.items() if name != "key"}
    assert updated == {**unchanged, "name": "new", "scopes": ["admin"]}
    assert get_status(admin_api, created["key"]) is KeyStatus.VALID
    assert admin_api.gateway.flushed_stages == [STAGE]


def test_update_with_null_removes_expiry(admin_api: AdminApi) -> None:
    _, created = admin_api.call("POST", "keys", {"tenant": "acme", "expires_at": "2026-04-01T00:00:00Z"})
    assert admin_api.call("PATCH", f"keys/{created['id']}", {"expires_at": None})[1]["expires_at"] is None


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/rotate")]
)
def test_unknown_key_is_not_found(admin_api: AdminApi, method: str, path: str) -> None:
    assert admin_api.call(method, f"keys/aaaaaaaaaaaa{path}", {})[0] == 404


def test_key_has_usage_key_until_revoked_when_usage_plans_are_enabled(admin_api: AdminApi) -> None:
    admin_api.has_usage_plans = True
    _, default = admin_api.call("POST", "keys", {"tenant": "acme"})
    _, limited = admin_api.call("POST", "keys", {"tenant": "acme", "limits": {"rate": 50, "burst": 100}})
    assert default["limits"] == {"rate": 10, "burst": 20, "monthly_quota": None}
    assert admin_api.gateway.limits_by_label == {
        f"acme-{default['id']}": UsageLimits(10, 20),
        f"acme-{limited['id']}": UsageLimits(50, 100),
    }
    assert admin_api.keys.keys[limited["id"]].usage_key == f"value-of-acme-{limited['id']}"
    admin_api.call("DELETE", f"keys/{limited['id']}")
    assert list(admin_api.gateway.limits_by_label) == [f"acme-{default['id']}"]


def test_usage_key_is_not_shown(admin_api: AdminApi) -> None:
    admin_api.has_usage_plans = True
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    assert "value-of" not in str(created)


def interleave(admin_api: AdminApi, act: Callable[[], object], times: int = 1) -> None:
    """Run `act` between reading and saving a key, as another operator at the same time."""
    save, remaining = admin_api.keys.save, [act] * times

    def save_after_other_operator(key: ApiKey) -> ApiKey:
        if remaining:
            remaining.pop()()
        return save(key)

    admin_api.keys.save = save_after_other_operator  # type: ignore[method-assign] # this test only


def test_concurrent_updates_keep_each_others_fields(admin_api: AdminApi) -> None:
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    path = f"keys/{created['id']}"
    interleave(admin_api, lambda: admin_api.call("PATCH", path, {"allowed_ips": ["10.0.0.0/8"]}))
    status, updated = admin_api.call("PATCH", path, {"name": "ci"})
    assert (status, updated["name"], updated["allowed_ips"]) == (200, "ci", ["10.0.0.0/8"])


def test_rotation_beside_update_keeps_both(admin_api: AdminApi) -> None:
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    path = f"keys/{created['id']}"
    interleave(admin_api, lambda: admin_api.call("PATCH", path, {"name": "ci"}))
    status, rotated = admin_api.call("POST", f"{path}/rotate", {})
    assert (status, rotated["name"]) == (200, "ci")
    assert get_status(admin_api, rotated["key"]) is KeyStatus.VALID


def test_revocation_beside_update_revokes(admin_api: AdminApi) -> None:
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    path = f"keys/{created['id']}"
    interleave(admin_api, lambda: admin_api.call("PATCH", path, {"name": "ci"}))
    assert admin_api.call("DELETE", path)[0] == 200
    assert get_status(admin_api, created["key"]) is KeyStatus.REVOKED


def test_update_is_refused_when_key_keeps_changing(admin_api: AdminApi) -> None:
    admin_api.has_usage_plans = True
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    path = f"keys/{created['id']}"

    def change() -> None:
        key = admin_api.keys.keys[created["id"]]
        admin_api.keys.keys[key.id] = replace(key, revision=key.revision + 1)

    interleave(admin_api, change, times=5)
    assert admin_api.call("PATCH", path, {"limits": {"rate": 1, "burst": 1}})[0] == 503
    # The usage key that the request created is removed; in the fake, its ID is its label.
    assert f"acme-{created['id']}" not in admin_api.gateway.limits_by_label


def test_repeated_rotation_keeps_secret_in_use_valid(admin_api: AdminApi) -> None:
    """The response of the first rotation is lost, so that its secret reaches no one."""
    _, created = admin_api.call("POST", "keys", {"tenant": "acme"})
    path = f"keys/{created['id']}/rotate"
    admin_api.call("POST", path, {"overlap_seconds": 86400})
    _, rotated = admin_api.call("POST", path, {"overlap_seconds": 86400})
    assert get_status(admin_api, created["key"]) is KeyStatus.VALID
    assert get_status(admin_api, rotated["key"]) is KeyStatus.VALID
    admin_api.clock.advance(seconds=86400)
    assert get_status(admin_api, created["key"]) is KeyStatus.INVALID
    assert get_status(admin_api, rotated["key"]) is KeyStatus.VALID
