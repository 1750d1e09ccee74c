"""API keys through the admin API, from creation to revocation."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.auth.keys import ApiKey, ApiKeySecret, KeyStatus, UsageLimits, verify_key
from replicate_proxy.clock import format_timestamp
from tests.support.access import DIGEST_KEY, STAGE, make_key
from tests.support.clock import NOW

if TYPE_CHECKING:
    from tests.unit.replicate_proxy.operations.conftest import World


def get_status(world: World, credential: str) -> KeyStatus:
    secret = ApiKeySecret.parse(credential)
    assert secret is not None
    return verify_key(world.keys.get(secret.key_id), secret, DIGEST_KEY, world.clock.now())


def test_created_key_is_valid_and_its_secret_is_shown_once(world: World) -> None:
    status, created = world.call("POST", "keys", {"tenant": "acme", "name": "ci"})
    assert status == 201
    assert get_status(world, created["key"]) is KeyStatus.VALID
    _, shown = world.call("GET", f"keys/{created['id']}")
    assert shown == {name: value for name, value in created.items() if name != "key"}
    _, listed = world.call("GET", "keys")
    assert listed == {"results": [shown]}


def test_secret_and_digest_are_neither_stored_nor_shown(world: World) -> None:
    _, created = world.call("POST", "keys", {"tenant": "acme"})
    secret = created["key"].rpartition("_")[2]
    assert secret not in repr(world.keys)
    assert world.keys.keys[created["id"]].digest not in str(world.call("GET", "keys"))


def test_created_key_has_requested_fields(world: World) -> None:
    body = {
        "tenant": "acme",
        "scopes": ["predictions:read"],
        "allowed_ips": ["203.0.113.7", "2001:db8::/32"],
        "allowed_models": ["acme/*", "stability-ai/sdxl", "a" * 64],
        "expires_at": "2026-03-02T12:00:00+02:00",
    }
    _, created = world.call("POST", "keys", body)
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
        ({"tenant": "acme", "limits": {"rate": 0, "burst": 1}}, "limits.rate"),
        ({"tenant": "acme", "limits": {"rate": 1, "burst": 1}}, "limits"),
        ({"tenant": "acme", "digest": "0"}, ""),
    ],
)
def test_create_rejects_invalid_body_and_names_field(world: World, body: Any, field: str) -> None:
    status, problem = world.call("POST", "keys", body)
    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)
    assert world.keys.keys == {}


def test_list_filters_by_tenant(world: World) -> None:
    for tenant in ("acme", "globex"):
        world.call("POST", "keys", {"tenant": tenant})
    _, listed = world.call("GET", "keys", tenant="globex")
    assert [key["tenant"] for key in listed["results"]] == ["globex"]


def test_rotated_key_has_two_valid_secrets_during_overlap(world: World) -> None:
    _, created = world.call("POST", "keys", {"tenant": "acme"})
    status, rotated = world.call("POST", f"keys/{created['id']}/rotate", {"overlap_seconds": 3600})
    assert status == 200
    assert rotated["previous_secret_until"] == format_timestamp(NOW + timedelta(hours=1))
    assert get_status(world, created["key"]) is KeyStatus.VALID
    assert get_status(world, rotated["key"]) is KeyStatus.VALID
    world.clock.advance(hours=1)
    assert get_status(world, created["key"]) is KeyStatus.INVALID
    assert get_status(world, rotated["key"]) is KeyStatus.VALID
    assert world.gateway.flushed_stages == []


def test_rotation_without_overlap_invalidates_secret_and_flushes_cache(world: World) -> None:
    _, created = world.call("POST", "keys", {"tenant": "acme"})
    world.call("POST", f"keys/{created['id']}/rotate", {"overlap_seconds": 0})
    assert get_status(world, created["key"]) is KeyStatus.INVALID
    assert world.gateway.flushed_stages == [STAGE]


@pytest.mark.parametrize("overlap_seconds", [-1, 7 * 86_400 + 1, "a day"])
def test_rotation_rejects_overlap_out_of_bounds(world: World, overlap_seconds: Any) -> None:
    _, created = world.call("POST", "keys", {"tenant": "acme"})
    status, problem = world.call("POST", f"keys/{created['id']}/rotate", {"overlap_seconds": overlap_seconds})
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "overlap_seconds")
    assert get_status(world, created["key"]) is KeyStatus.VALID


def test_revoked_key_is_rejected_and_cannot_be_changed(world: World) -> None:
    _, created = world.call("POST", "keys", {"tenant": "acme"})
    status, revoked = world.call("DELETE", f"keys/{created['id']}")
    assert status == 200
    assert revoked["revoked_at"] == revoked["effective_at"] == format_timestamp(NOW)
    assert get_status(world, created["key"]) is KeyStatus.REVOKED
    assert world.gateway.flushed_stages == [STAGE]
    assert world.call("POST", f"keys/{created['id']}/rotate", {})[0] == 409
    assert world.call("PATCH", f"keys/{created['id']}", {"name": "x"})[0] == 409


def test_revocation_is_effective_after_cache_ttl_when_flush_fails(world: World) -> None:
    world.gateway.can_flush = False
    _, created = world.call("POST", "keys", {"tenant": "acme"})
    _, revoked = world.call("DELETE", f"keys/{created['id']}")
    assert revoked["effective_at"] == format_timestamp(NOW + timedelta(seconds=60))


def test_second_revocation_changes_nothing(world: World) -> None:
    _, created = world.call("POST", "keys", {"tenant": "acme"})
    world.call("DELETE", f"keys/{created['id']}")
    world.clock.advance(hours=1)
    status, revoked = world.call("DELETE", f"keys/{created['id']}")
    assert (status, revoked["revoked_at"]) == (200, format_timestamp(NOW))


def test_update_changes_only_named_fields(world: World) -> None:
    _, created = world.call("POST", "keys", {"tenant": "acme", "name": "old", "allowed_ips": ["10.0.0.0/8"]})
    status, updated = world.call("PATCH", f"keys/{created['id']}", {"name": "new", "scopes": ["admin"]})
    assert status == 200
    unchanged = {name: value for name, value in created.items() if name != "key"}
    assert updated == {**unchanged, "name": "new", "scopes": ["admin"]}
    assert get_status(world, created["key"]) is KeyStatus.VALID
    assert world.gateway.flushed_stages == [STAGE]


def test_update_with_null_removes_expiry(world: World) -> None:
    _, created = world.call("POST", "keys", {"tenant": "acme", "expires_at": "2026-04-01T00:00:00Z"})
    assert world.call("PATCH", f"keys/{created['id']}", {"expires_at": None})[1]["expires_at"] is None


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/rotate")]
)
def test_unknown_key_is_not_found(world: World, method: str, path: str) -> None:
    assert world.call(method, f"keys/aaaaaaaaaaaa{path}", {})[0] == 404


def test_key_has_usage_key_until_revoked_when_usage_plans_are_enabled(world: World) -> None:
    world.usage_plans = True
    _, default = world.call("POST", "keys", {"tenant": "acme"})
    _, limited = world.call("POST", "keys", {"tenant": "acme", "limits": {"rate": 50, "burst": 100}})
    assert default["limits"] == {"rate": 10, "burst": 20, "monthly_quota": None}
    assert world.gateway.limits_by_label == {
        f"acme-{default['id']}": UsageLimits(10, 20),
        f"acme-{limited['id']}": UsageLimits(50, 100),
    }
    assert world.keys.keys[limited["id"]].usage_key == f"value-of-acme-{limited['id']}"
    world.call("DELETE", f"keys/{limited['id']}")
    assert list(world.gateway.limits_by_label) == [f"acme-{default['id']}"]


def test_usage_key_is_not_shown(world: World) -> None:
    world.usage_plans = True
    _, created = world.call("POST", "keys", {"tenant": "acme"})
    assert "value-of" not in str(created)


def test_rotation_fails_when_key_changed_meanwhile(world: World) -> None:
    key, _ = make_key()
    world.keys.create(key)
    replace = world.keys.replace

    def replace_after_other_writer(key: ApiKey, *, expected_digest: str) -> None:
        replace(make_key(id=key.id)[0], expected_digest=expected_digest)
        replace(key, expected_digest=expected_digest)

    world.keys.replace = replace_after_other_writer  # type: ignore[method-assign] # another operator is faster
    assert world.call("POST", f"keys/{key.id}/rotate", {})[0] == 503
