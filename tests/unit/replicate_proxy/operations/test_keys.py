"""/admin/keys: the life of a key."""

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


def worth(world: World, text: str) -> KeyStatus:
    presented = ApiKeySecret.parse(text)
    assert presented is not None
    return verify_key(world.keys.get(presented.key_id), presented, DIGEST_KEY, world.clock.now())


def test_a_created_key_is_good_and_shown_once(world: World) -> None:
    status, made = world.call("POST", "keys", {"tenant": "acme", "name": "ci"})
    assert status == 201
    assert worth(world, made["key"]) is KeyStatus.VALID
    _, shown = world.call("GET", f"keys/{made['id']}")
    assert shown == {name: value for name, value in made.items() if name != "key"}
    _, listed = world.call("GET", "keys")
    assert listed == {"results": [shown]}


def test_nothing_of_a_secret_is_stored_or_shown(world: World) -> None:
    _, made = world.call("POST", "keys", {"tenant": "acme"})
    secret = made["key"].rpartition("_")[2]
    assert secret not in repr(world.keys)
    assert world.keys.keys[made["id"]].digest not in str(world.call("GET", "keys"))


def test_a_key_has_what_was_asked_for(world: World) -> None:
    wanted = {
        "tenant": "acme",
        "scopes": ["predictions:read"],
        "allowed_ips": ["203.0.113.7", "2001:db8::/32"],
        "allowed_models": ["acme/*", "stability-ai/sdxl", "a" * 64],
        "expires_at": "2026-03-02T12:00:00+02:00",
    }
    _, made = world.call("POST", "keys", wanted)
    assert made["scopes"] == ["predictions:read"]
    assert made["allowed_ips"] == ["203.0.113.7/32", "2001:db8::/32"]
    assert made["allowed_models"] == wanted["allowed_models"]
    assert made["expires_at"] == "2026-03-02T10:00:00.000Z"


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
        ({"tenant": "acme", "digest": "0"}, "digest"),
    ],
)
def test_a_wrong_body_is_refused_by_field_and_makes_nothing(world: World, body: Any, field: str) -> None:
    status, problem = world.call("POST", "keys", body)
    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)
    assert world.keys.keys == {}


def test_keys_are_listed_by_tenant(world: World) -> None:
    for tenant in ("acme", "globex"):
        world.call("POST", "keys", {"tenant": tenant})
    _, listed = world.call("GET", "keys", tenant="globex")
    assert [key["tenant"] for key in listed["results"]] == ["globex"]


def test_a_rotated_key_has_two_good_secrets_for_the_grace(world: World) -> None:
    _, made = world.call("POST", "keys", {"tenant": "acme"})
    status, turned = world.call("POST", f"keys/{made['id']}/rotate", {"overlap_seconds": 3600})
    assert status == 200
    assert turned["previous_secret_until"] == format_timestamp(NOW + timedelta(hours=1))
    assert [worth(world, text["key"]) for text in (made, turned)] == [KeyStatus.VALID] * 2
    world.clock.advance(hours=1)
    assert [worth(world, text["key"]) for text in (made, turned)] == [KeyStatus.INVALID, KeyStatus.VALID]
    assert world.gateway.flushed_stages == []


def test_a_rotation_without_grace_is_effective_at_once_at_the_gateway_too(world: World) -> None:
    _, made = world.call("POST", "keys", {"tenant": "acme"})
    world.call("POST", f"keys/{made['id']}/rotate", {"overlap_seconds": 0})
    assert worth(world, made["key"]) is KeyStatus.INVALID
    assert world.gateway.flushed_stages == [STAGE]


@pytest.mark.parametrize("grace", [-1, 7 * 86_400 + 1, "a day"])
def test_a_grace_is_0_to_7_days(world: World, grace: Any) -> None:
    _, made = world.call("POST", "keys", {"tenant": "acme"})
    status, problem = world.call("POST", f"keys/{made['id']}/rotate", {"overlap_seconds": grace})
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "overlap_seconds")
    assert worth(world, made["key"]) is KeyStatus.VALID


def test_a_revoked_key_is_refused_at_once_and_for_good(world: World) -> None:
    _, made = world.call("POST", "keys", {"tenant": "acme"})
    status, gone = world.call("DELETE", f"keys/{made['id']}")
    assert (status, gone["revoked_at"], gone["effective_at"]) == (
        200,
        format_timestamp(NOW),
        format_timestamp(NOW),
    )
    assert worth(world, made["key"]) is KeyStatus.REVOKED
    assert world.gateway.flushed_stages == [STAGE]
    assert world.call("POST", f"keys/{made['id']}/rotate", {})[0] == 409
    assert world.call("PATCH", f"keys/{made['id']}", {"name": "x"})[0] == 409


def test_where_the_gateway_keeps_its_cache_the_reply_says_how_long(world: World) -> None:
    world.gateway.can_flush = False
    _, made = world.call("POST", "keys", {"tenant": "acme"})
    _, gone = world.call("DELETE", f"keys/{made['id']}")
    assert gone["effective_at"] == format_timestamp(NOW + timedelta(seconds=60))


def test_revoking_twice_changes_nothing(world: World) -> None:
    _, made = world.call("POST", "keys", {"tenant": "acme"})
    world.call("DELETE", f"keys/{made['id']}")
    world.clock.advance(hours=1)
    status, again = world.call("DELETE", f"keys/{made['id']}")
    assert (status, again["revoked_at"]) == (200, format_timestamp(NOW))


def test_a_change_touches_only_the_fields_it_names(world: World) -> None:
    _, made = world.call("POST", "keys", {"tenant": "acme", "name": "old", "allowed_ips": ["10.0.0.0/8"]})
    status, changed = world.call("PATCH", f"keys/{made['id']}", {"name": "new", "scopes": ["admin"]})
    assert status == 200
    assert changed == {**{k: v for k, v in made.items() if k != "key"}, "name": "new", "scopes": ["admin"]}
    assert worth(world, made["key"]) is KeyStatus.VALID
    assert world.gateway.flushed_stages == [STAGE]


def test_null_ends_an_expiry(world: World) -> None:
    _, made = world.call("POST", "keys", {"tenant": "acme", "expires_at": "2026-04-01T00:00:00Z"})
    assert world.call("PATCH", f"keys/{made['id']}", {"expires_at": None})[1]["expires_at"] is None


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/rotate")]
)
def test_an_unknown_key_is_not_found(world: World, method: str, path: str) -> None:
    assert world.call(method, f"keys/aaaaaaaaaaaa{path}", {})[0] == 404


def test_with_usage_plans_every_key_has_a_seat_and_loses_it_with_its_life(world: World) -> None:
    world.usage_plans = True
    _, plain = world.call("POST", "keys", {"tenant": "acme"})
    _, fast = world.call("POST", "keys", {"tenant": "acme", "limits": {"rate": 50, "burst": 100}})
    assert plain["limits"] == {"rate": 10, "burst": 20, "monthly_quota": None}
    assert world.gateway.limits_by_label == {
        f"acme-{plain['id']}": UsageLimits(10, 20),
        f"acme-{fast['id']}": UsageLimits(50, 100),
    }
    assert world.keys.keys[fast["id"]].usage_key == f"value-of-acme-{fast['id']}"
    world.call("DELETE", f"keys/{fast['id']}")
    assert list(world.gateway.limits_by_label) == [f"acme-{plain['id']}"]


def test_the_usage_key_is_not_shown(world: World) -> None:
    world.usage_plans = True
    _, made = world.call("POST", "keys", {"tenant": "acme"})
    assert "value-of" not in str(made)


def test_a_key_changed_by_somebody_else_meanwhile_is_left_alone(world: World) -> None:
    key, _ = make_key()
    world.keys.create(key)
    replaced = world.keys.replace

    def late(key: ApiKey, *, expected_digest: str) -> None:
        replaced(make_key(id=key.id)[0], expected_digest=expected_digest)
        replaced(key, expected_digest=expected_digest)

    world.keys.replace = late  # type: ignore[method-assign] # another operator in between
    assert world.call("POST", f"keys/{key.id}/rotate", {})[0] == 503
