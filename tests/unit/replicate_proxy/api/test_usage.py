"""GET /v1/usage and GET /admin/usage: days, groups, formats, and whose usage is shown."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from typing import Any

import pytest

from replicate_proxy.api.routing import Router
from replicate_proxy.api.usage import add_usage_routes
from replicate_proxy.usage.counter import UsageCounter
from replicate_proxy.usage.report import UsageGroup, UsageReader
from tests.support.admin_api import AdminApi
from tests.support.builders import make_event
from tests.support.clock import FakeClock
from tests.support.usage import build_usage_store, make_change, make_ended_job

STORE = build_usage_store()


@pytest.fixture(scope="module", autouse=True)
def _counted() -> None:
    clock = FakeClock()
    jobs = [
        make_ended_job(model="acme/a", key_id="k1"),
        make_ended_job(model="acme/a", key_id="k2", micro_usd=None),
        make_ended_job(model="acme/b", key_id="k1", days=-1),
        make_ended_job(tenant="globex", model="acme/a", key_id="k3"),
    ]
    assert UsageCounter(STORE, clock, clock.sleep).count([make_change(job) for job in jobs]) is None


def call(*, headers: Any = None, **query: Any) -> Any:
    router = Router()
    add_usage_routes(router, UsageReader(STORE), FakeClock())
    names = {name.rstrip("_"): value for name, value in query.items()}
    return router.handle(make_event("GET", "/v1/usage", query=names, headers=headers))


def get(**query: Any) -> Any:
    response = call(**query)
    assert response["statusCode"] == 200, response
    return json.loads(response["body"])


def test_usage_of_the_caller_is_summed_by_day() -> None:
    report = get()

    assert (report["from"], report["to"]) == ("2026-01-02", "2026-01-31")
    assert [(row["day"], row["predictions"], row["cost_usd"]) for row in report["results"]] == [
        ("2026-01-30", 1, "0.003000"),
        ("2026-01-31", 2, "0.003000"),
    ]
    assert report["total"]["unknown_costs"] == 1


def test_usage_is_grouped_as_asked() -> None:
    report = get(group_by="model,key", from_="2026-01-31")

    assert [(row["model"], row["key"]) for row in report["results"]] == [("acme/a", "k1"), ("acme/a", "k2")]


@pytest.mark.parametrize("tenant", [None, "acme"])
def test_regrouped_report_equals_one_that_was_read_so(tenant: str | None) -> None:
    reader, days = UsageReader(STORE), (date(2026, 1, 30), date(2026, 1, 31))
    finest = reader.report(tenant, *days, (UsageGroup.DAY, UsageGroup.TENANT, UsageGroup.MODEL))

    for groups in ((UsageGroup.DAY,), (UsageGroup.MODEL, UsageGroup.TENANT), ()):
        assert finest.regroup(*groups) == reader.report(tenant, *days, groups)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from_": "yesterday"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from_": "2026-02-01", "to": "2026-01-31"}, "from"),
        ({"from_": "2025-01-01"}, "from"),
        ({"to": "0001-01-01"}, "to"),
        ({"group_by": "tenant"}, "group_by"),
        ({"group_by": ","}, "group_by"),
        ({"format": "xml"}, "format"),
        ({"day": "2026-01-31"}, "day"),
    ],
)
def test_invalid_parameter_is_named(query: dict[str, str], field: str) -> None:
    response = call(**query)

    assert response["statusCode"] == 400
    assert [one["field"] for one in json.loads(response["body"])["invalid_fields"]] == [field]


@pytest.mark.parametrize("query", [{"format": "csv"}, {"headers": {"accept": "text/csv, */*;q=0.1"}}])
def test_usage_is_exported_as_csv(query: dict[str, Any]) -> None:
    response = call(group_by="day,model", **query)

    assert response["headers"]["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(response["body"])))
    assert [(row["day"], row["model"], row["cost_usd"]) for row in rows] == [
        ("2026-01-30", "acme/b", "0.003000"),
        ("2026-01-31", "acme/a", "0.003000"),
    ]


def test_usage_is_exported_as_lines_of_json() -> None:
    response = call(format="jsonl")

    assert response["headers"]["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["predictions"] for line in response["body"].splitlines()] == [1, 2]


def test_operators_see_one_tenant_or_all() -> None:
    api = AdminApi(usage=STORE)

    _, of_all = api.call("GET", "usage", group_by="tenant")
    _, of_one = api.call("GET", "usage", tenant="globex", group_by="key")

    assert [(row["tenant"], row["predictions"]) for row in of_all["results"]] == [("acme", 3), ("globex", 1)]
    assert [row["key"] for row in of_one["results"]] == ["k3"]


@pytest.mark.parametrize(
    ("query", "field"),
    [({"tenant": "Not a name"}, "tenant"), ({"from": "2025-12-20"}, "from")],
)
def test_invalid_parameter_of_operators_is_named(query: dict[str, str], field: str) -> None:
    status, body = AdminApi(usage=STORE).call("GET", "usage", **query)

    assert status == 400
    assert [one["field"] for one in body["invalid_fields"]] == [field]


def test_usage_of_tenants_requires_the_scope_admin() -> None:
    assert AdminApi(usage=STORE).call("GET", "usage", scopes="predictions:read")[0] == 403


def test_report_with_too_many_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replicate_proxy.api.usage._MAX_ROWS", 1)

    assert json.loads(call()["body"])["invalid_fields"][0]["field"] == "group_by"


@pytest.mark.parametrize("file_format", ["json", "csv", "jsonl"])
def test_report_that_is_larger_than_a_response_is_refused(
    monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    monkeypatch.setattr("replicate_proxy.api.usage.MAX_RESPONSE_BYTES", 100)

    response = call(format=file_format)

    assert response["statusCode"] == 400
    [invalid] = json.loads(response["body"])["invalid_fields"]
    assert invalid["field"] == "group_by"
    assert (
        invalid["description"]
        == "gives 2 rows, more than one response can have: ask for fewer groups or days"
    )


def test_last_day_of_the_calendar_can_be_asked_for() -> None:
    status, body = AdminApi(usage=STORE).call("GET", "usage", **{"from": "9999-12-31", "to": "9999-12-31"})

    assert (status, body["results"]) == (200, [])
