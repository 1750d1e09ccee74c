"""The admin API: required scopes, unknown paths, circuit breaker, redelivery and webhook secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.api.pagination import decode_cursor
from replicate_proxy.errors import PermanentError
from replicate_proxy.webhooks.redelivery import TenantPosition
from tests.support.admin_api import NEW_SECRET, OLD_SECRET

if TYPE_CHECKING:
    from tests.support.admin_api import AdminApi

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
    ("GET", "tenants/x/erasure"),
    ("POST", "tenants/x/redeliver"),
    ("POST", "tenants/x/deliveries/d/redeliver"),
    ("GET", "models"),
    ("PUT", "models"),
    ("GET", "models/x/y"),
    ("PUT", "models/x/y"),
    ("DELETE", "models/x/y"),
    ("GET", "queues"),
    ("GET", "queues/dispatch/dead-letters"),
    ("POST", "queues/dispatch/redrive"),
    ("POST", "queues/dispatch/discard"),
    ("GET", "concurrency"),
    ("GET", "tenants/acme/concurrency"),
    ("PUT", "tenants/acme/concurrency"),
    ("DELETE", "tenants/acme/concurrency"),
    ("GET", "batches"),
    ("GET", "replicate"),
    ("GET", "replays"),
    ("POST", "replays"),
    ("GET", "replays/x"),
    ("POST", "replays/x/cancel"),
    ("GET", "breaker"),
    ("POST", "breaker/trip"),
    ("POST", "breaker/reset"),
    ("POST", "webhook-secret/refresh"),
    ("GET", "usage"),
    ("GET", "audit"),
    ("GET", "jobs"),
    ("GET", "jobs/counts"),
    ("GET", "jobs/x/y"),
    ("GET", "jobs/x/y/story"),
    *(("POST", f"jobs/x/y/{action}") for action in ("cancel", "redeliver", "harvest", "retry", "delete")),
    ("GET", "bulk-operations"),
    ("POST", "bulk-operations"),
    ("GET", "bulk-operations/x"),
    ("POST", "bulk-operations/x/cancel"),
    ("GET", "audit/verification"),
    ("GET", "pause"),
    ("POST", "pause"),
    ("POST", "resume"),
    ("GET", "tenants/x/budget"),
    ("PUT", "tenants/x/budget"),
    ("DELETE", "tenants/x/budget"),
    ("GET", "keys/x/budget"),
    ("PUT", "keys/x/budget"),
    ("DELETE", "keys/x/budget"),
    *((method, "tenants/x/replicate-token") for method in ("GET", "PUT", "DELETE")),
]


def test_all_registered_routes_are_tested(admin_api: AdminApi) -> None:
    registered_paths = {
        resource.removeprefix("/admin/").split("/")[0] for _, resource in admin_api.router.routes
    }
    assert registered_paths == {path.split("/")[0] for _, path in ROUTES}
    assert len(admin_api.router.routes) == len(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_route_requires_admin_scope(admin_api: AdminApi, method: str, path: str) -> None:
    other_scopes = "predictions:read predictions:write files:write"
    assert admin_api.call(method, path, {}, scopes=other_scopes)[0] == 403
    assert admin_api.call(method, path, {}, scopes="administrator")[0] == 403
    assert admin_api.call(method, path, {}, scopes=None)[0] == 401


@pytest.mark.parametrize(
    "path", ["", "keys/", "/keys", "keys//rotate", "keys/x/y/z", "keyz", "keys/x/rotate/", ".."]
)
def test_unknown_path_is_not_found(admin_api: AdminApi, path: str) -> None:
    assert admin_api.call("GET", path)[0] == 404
    assert admin_api.call("POST", path, {})[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "detail"),
    [
        ("GET", "queues/nope/dead-letters", "no queue nope; the queues are "),
        ("POST", "queues/nope/redrive", "no queue nope; the queues are "),
        ("GET", "keys/nope", "no key has this ID"),
        ("DELETE", "keys/nope", "no key has this ID"),
        ("GET", "tenants/nope", "tenant nope has no settings"),
    ],
)
def test_unknown_name_is_named_to_operators(admin_api: AdminApi, method: str, path: str, detail: str) -> None:
    status, body = admin_api.call(method, path, {} if method == "POST" else None)

    assert status == 404
    assert body["detail"].startswith(detail)


def test_unknown_method_is_not_found(admin_api: AdminApi) -> None:
    assert admin_api.call("PUT", "keys", {})[0] == 404


def test_breaker_can_be_read_tripped_and_reset(admin_api: AdminApi) -> None:
    assert admin_api.call("GET", "breaker")[1]["state"] == "closed"
    assert admin_api.call("POST", "breaker/trip", {"seconds": 90})[1] == {
        "state": "open by admin",
        "seconds": 90,
    }
    reset = admin_api.call("POST", "breaker/reset")[1]
    assert (reset["state"], reset["waiting_jobs_resume_by"]) == ("closed", "2026-01-31T09:30:00.000Z")
    assert admin_api.call("POST", "breaker/reset")[1]["waiting_jobs_resume_by"] is None
    status, problem = admin_api.call("POST", "breaker/trip", {"seconds": -1})
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "seconds")
    assert admin_api.breaker.state == "closed"


def test_redeliver_queues_failed_deliveries_page_by_page(admin_api: AdminApi) -> None:
    body = {"since": "2026-01-01T00:00:00Z"}
    status, redelivered = admin_api.call("POST", "tenants/acme/redeliver", body)
    assert (status, redelivered["redelivered"]) == (202, 5)
    assert decode_cursor(redelivered["cursor"], TenantPosition.parse) == TenantPosition("acme-2026")
    body["cursor"] = redelivered["cursor"]
    assert admin_api.call("POST", "tenants/acme/redeliver", body)[1]["cursor"] is None
    assert admin_api.call("POST", "tenants/acme/redeliver", {})[0] == 422


def test_refresh_keeps_known_webhook_secret(admin_api: AdminApi) -> None:
    assert admin_api.call("POST", "webhook-secret/refresh") == (200, {"changed": False, "valid_count": 1})
    assert admin_api.parameter.writes == 0


def test_refresh_puts_new_webhook_secret_first(admin_api: AdminApi) -> None:
    admin_api.secret = NEW_SECRET
    assert admin_api.call("POST", "webhook-secret/refresh") == (200, {"changed": True, "valid_count": 2})
    assert admin_api.parameter.text == f"{NEW_SECRET} {OLD_SECRET}"
    assert admin_api.call("POST", "webhook-secret/refresh")[1]["changed"] is False


def test_refresh_keeps_at_most_three_webhook_secrets(admin_api: AdminApi) -> None:
    admin_api.parameter.text = "whsec_AAAA,whsec_BBBB\nwhsec_CCCC"
    admin_api.secret = NEW_SECRET
    admin_api.webhook_secret.refresh()
    assert admin_api.parameter.text == f"{NEW_SECRET} whsec_AAAA whsec_BBBB"


def test_refresh_creates_missing_parameter(admin_api: AdminApi) -> None:
    admin_api.parameter.text = ""
    admin_api.webhook_secret.refresh()
    assert admin_api.parameter.text == OLD_SECRET


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!", "<html>"])
def test_refresh_rejects_response_that_is_not_a_secret(admin_api: AdminApi, secret: str) -> None:
    admin_api.secret = secret
    with pytest.raises(PermanentError):
        admin_api.webhook_secret.refresh()
    assert admin_api.parameter.text == OLD_SECRET
