"""The admin API as a whole: who may, and what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.api.pagination import decode_cursor
from replicate_proxy.errors import PermanentError
from replicate_proxy.webhooks.redelivery import TenantPosition
from tests.unit.replicate_proxy.operations.conftest import NEW_SECRET, OLD_SECRET

if TYPE_CHECKING:
    from tests.unit.replicate_proxy.operations.conftest import World

ROUTES = [
    ("GET", "keys"),
    ("POST", "keys"),
    ("GET", "keys/x"),
    ("PATCH", "keys/x"),
    ("DELETE", "keys/x"),
    ("POST", "keys/x/rotate"),
    ("GET", "tenants"),
    ("GET", "tenants/x"),
    ("PUT", "tenants/x"),
    ("DELETE", "tenants/x"),
    ("POST", "tenants/x/redeliver"),
    ("POST", "tenants/x/deliveries/d/redeliver"),
    ("GET", "queues"),
    ("GET", "queues/dispatch/dead-letters"),
    ("POST", "queues/dispatch/redrive"),
    ("POST", "queues/dispatch/discard"),
    ("GET", "breaker"),
    ("POST", "breaker/trip"),
    ("POST", "breaker/reset"),
    ("POST", "webhook-secret/refresh"),
]


def test_every_registered_route_is_among_the_tested_routes(world: World) -> None:
    registered = {resource.removeprefix("/admin/").split("/")[0] for _, resource in world.router.routes}
    assert registered == {path.split("/")[0] for _, path in ROUTES}
    assert len(world.router.routes) == len(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_opens_without_the_scope(world: World, method: str, path: str) -> None:
    everything_else = "predictions:read predictions:write files:write"
    assert world.call(method, path, {}, scopes=everything_else)[0] == 403
    assert world.call(method, path, {}, scopes="administrator")[0] == 403
    assert world.call(method, path, {}, scopes=None)[0] == 401


@pytest.mark.parametrize(
    "path", ["", "keys/", "/keys", "keys//rotate", "keys/x/y/z", "keyz", "keys/x/rotate/", ".."]
)
def test_other_paths_are_not_there(world: World, path: str) -> None:
    assert world.call("GET", path)[0] == 404
    assert world.call("POST", path, {})[0] == 404


def test_a_route_knows_its_methods(world: World) -> None:
    assert world.call("PUT", "keys", {})[0] == 404


def test_the_breaker_is_seen_tripped_and_reset(world: World) -> None:
    assert world.call("GET", "breaker")[1]["state"] == "closed"
    assert world.call("POST", "breaker/trip", {"seconds": 90})[1] == {"state": "open by admin", "seconds": 90}
    assert world.call("POST", "breaker/reset")[1]["state"] == "closed"
    status, problem = world.call("POST", "breaker/trip", {"seconds": -1})
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "seconds")
    assert world.breaker.state == "closed"


def test_failed_deliveries_of_a_tenant_are_queued_again(world: World) -> None:
    body = {"since": "2026-01-01T00:00:00Z"}
    status, redelivered = world.call("POST", "tenants/acme/redeliver", body)
    assert (status, redelivered["redelivered"]) == (202, 5)
    assert decode_cursor(redelivered["cursor"], TenantPosition) == TenantPosition("acme 2026")
    body["cursor"] = redelivered["cursor"]
    assert world.call("POST", "tenants/acme/redeliver", body)[1]["cursor"] is None
    assert world.call("POST", "tenants/acme/redeliver", {})[0] == 422


def test_a_known_webhook_secret_stays_as_it_is(world: World) -> None:
    assert world.call("POST", "webhook-secret/refresh") == (200, {"changed": False, "live": 1})
    assert world.parameter.writes == 0


def test_a_new_webhook_secret_is_put_before_the_old_one(world: World) -> None:
    world.secret = NEW_SECRET
    assert world.call("POST", "webhook-secret/refresh") == (200, {"changed": True, "live": 2})
    assert world.parameter.text == f"{NEW_SECRET} {OLD_SECRET}"
    assert world.call("POST", "webhook-secret/refresh")[1]["changed"] is False


def test_at_most_three_webhook_secrets_are_live(world: World) -> None:
    world.parameter.text = "whsec_AAAA,whsec_BBBB\nwhsec_CCCC"
    world.secret = NEW_SECRET
    world.webhook_secret.refresh()
    assert world.parameter.text == f"{NEW_SECRET} whsec_AAAA whsec_BBBB"


def test_the_first_webhook_secret_makes_the_parameter(world: World) -> None:
    world.parameter.text = ""
    world.webhook_secret.refresh()
    assert world.parameter.text == OLD_SECRET


@pytest.mark.parametrize("answer", ["", "whsec_", "whsec_!!!", "<html>"])
def test_an_answer_that_is_no_secret_pushes_nothing_out(world: World, answer: str) -> None:
    world.secret = answer
    with pytest.raises(PermanentError):
        world.webhook_secret.refresh()
    assert world.parameter.text == OLD_SECRET
