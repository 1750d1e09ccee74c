"""The routes of large batches: create, read, results, cancel; for their tenant alone."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from replicate_proxy.api.admin.batches import add_admin_batch_routes
from replicate_proxy.api.batches import add_batch_read_routes, add_batch_write_routes
from replicate_proxy.api.predictions.job_request_parser import JobRequestParser, ParserSettings
from replicate_proxy.api.routing import Router
from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.batches.results import ResultReader
from replicate_proxy.services.batch_list import BatchList
from replicate_proxy.services.batch_reader import BatchReader
from replicate_proxy.services.batch_results import BatchResults
from replicate_proxy.services.batches import BatchService
from replicate_proxy.services.rendering import PredictionRenderer
from tests.support.aws import JOBS_TABLE
from tests.support.batches import TENANT, LargeBatches, make_lines
from tests.support.builders import make_event


class Api:
    """All routes of batches over one store."""

    def __init__(self) -> None:
        self.batches = LargeBatches()
        store = DynamoBatchStore(self.batches.aws.client("dynamodb"), JOBS_TABLE, self.batches.jobs)
        unused = cast(Any, None)
        service = BatchService(
            store=store,
            idempotency=unused,
            factory=unused,
            queue=unused,
            canceler=unused,
            clock=self.batches.clock,
            budgets=unused,
            counts=self.batches.counts,
        )
        reader = ResultReader(self.batches.objects, self.batches.jobs, self.batches.documents)
        renderer = PredictionRenderer(self.batches.documents)
        self.router = Router()
        add_batch_write_routes(
            self.router,
            parser=JobRequestParser(ParserSettings(), lambda *_: None),
            batches=service,
            large_batches=self.batches.service,
            renderer=renderer,
            clock=self.batches.clock,
        )
        add_batch_read_routes(
            self.router,
            batches=BatchReader(store, self.batches.counts),
            batch_list=BatchList(store, self.batches.counts),
            results=BatchResults(reader, self.batches.objects),
            renderer=renderer,
            clock=self.batches.clock,
        )
        add_admin_batch_routes(self.router, BatchList(store, self.batches.counts), self.batches.clock)

    def call(self, method: str, path: str = "", body: Any = None, **fields: Any) -> tuple[int, Any, Any]:
        resource, params = f"/v1/batches{path}", {}
        if path:
            batch_id, _, rest = path.strip("/").partition("/")
            resource = "/v1/batches/{id}" + (f"/{rest}" if rest else "")
            params = {"id": batch_id}
        response = self.router.handle(make_event(method, resource, body=body, params=params, **fields))
        text = response["body"]
        is_json = "json" in response["headers"].get("content-type", "") and text
        is_lines = "jsonl" in response["headers"].get("content-type", "")
        parsed = [json.loads(line) for line in text.splitlines()] if is_lines else text
        return (
            response["statusCode"],
            json.loads(text) if is_json and not is_lines else parsed,
            response["headers"],
        )


@pytest.fixture
def api() -> Api:
    return Api()


def test_batch_runs_from_its_file_to_its_results(api: Api) -> None:
    file_id = api.batches.add_file(make_lines(3))
    status, batch, headers = api.call(
        "POST",
        body={"input_file": file_id, "webhook": "https://app.test/hook"},
        headers={"X-Retention": "7d"},
    )
    assert (status, batch["status"], batch["input_file"]) == (201, "processing", file_id)
    assert headers["location"].endswith(f"/v1/batches/{batch['id']}")
    path = f"/{batch['id']}"

    assert api.call("GET", f"{path}/results")[2]["retry-after"] == "5"
    api.batches.run()
    status, lines, headers = api.call("GET", f"{path}/results")
    assert (status, [line["line"] for line in lines], "link" in headers) == (200, [1, 2, 3], False)
    api.batches.end_jobs()
    api.batches.run()
    batch = api.call("GET", path)[1]
    assert (batch["status"], batch["counts"]["succeeded"]) == ("completed", 3)
    assert batch["cost"] == {"usd": "0.000120", "unknown": 0}
    status, _, headers = api.call("GET", f"{path}/results")
    assert (status, headers["location"].startswith("https://bucket.test/")) == (302, True)
    [listed] = api.call("GET")[1]["results"]
    assert listed == batch


def test_pages_of_results_follow_each_other_by_link(api: Api) -> None:
    batch = api.batches.create(make_lines(200))
    api.batches.run()
    seen: list[int] = []
    query: dict[str, str] = {}
    while True:
        _, lines, headers = api.call("GET", f"/{batch.id}/results", query=query)
        seen += [line["line"] for line in lines]
        if "link" not in headers:
            break
        query = {"cursor": headers["link"].partition("cursor=")[2].partition(">")[0]}
    assert seen == list(range(1, 201))
    assert api.call("GET", f"/{batch.id}/results", query={"cursor": "x"})[0] == 400


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/results"), ("POST", "/cancel")], ids=str)
def test_batch_of_another_tenant_does_not_exist(api: Api, method: str, path: str) -> None:
    batch = api.batches.create(make_lines(1))
    status, problem, _ = api.call(method, f"/{batch.id}{path}", tenant="globex")
    assert (status, problem["status"]) == (404, 404)
    assert api.call("GET", tenant="globex")[1]["results"] == []


def test_file_of_another_tenant_is_refused_like_an_unknown_one(api: Api) -> None:
    foreign = api.batches.add_file(make_lines(1), tenant="globex")
    problems = [api.call("POST", body={"input_file": name})[1] for name in (foreign, "unknown")]
    assert {problem["status"] for problem in problems} == {422}
    assert problems[0]["invalid_fields"] == problems[1]["invalid_fields"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input_file": "x", "webhook": "ftp://app.test"}, "webhook"),
        ({"input_file": 3}, "input_file"),
        ({"input_file": "x", "predictions": []}, ""),
    ],
)
def test_invalid_request_names_its_field(api: Api, body: Any, field: str) -> None:
    status, problem, _ = api.call("POST", body=body)
    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)


def test_cancel_is_shown_and_carried_out(api: Api) -> None:
    batch = api.batches.create(make_lines(3))
    status, canceled, _ = api.call("POST", f"/{batch.id}/cancel")
    assert (status, canceled["status"]) == (200, "processing")
    assert "cancel_requested_at" in canceled
    api.batches.run()
    api.batches.run()
    ended = api.call("GET", f"/{batch.id}")[1]
    assert (ended["status"], ended["counts"]["canceled"], api.batches.list_jobs()) == ("completed", 3, [])


def test_operators_see_the_batches_of_all_tenants(api: Api) -> None:
    batch = api.batches.create(make_lines(2))
    api.batches.run()
    event = make_event("GET", "/admin/batches", scopes="admin")
    [listed] = json.loads(api.router.handle(event)["body"])["results"]
    assert (listed["tenant"], listed["id"], listed["counts"]["unfinished"]) == (TENANT, batch.id, 2)
