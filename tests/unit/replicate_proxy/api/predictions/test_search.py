"""The filters of the caller's list of predictions, its cursors, and how much a page reads."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.api.http import Request
from replicate_proxy.api.pagination import encode_cursor
from replicate_proxy.api.predictions.list_filters import parse_list_filter
from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.errors import ApiError
from replicate_proxy.ids import find_bounds, generate_id, min_id_at
from replicate_proxy.jobs.job_filter import JobFilter
from replicate_proxy.jobs.model import Batch, Job, JobStatus, Submission, SubmissionKind
from replicate_proxy.services.prediction_list import MAX_READS, PAGE_SIZE, PredictionList
from replicate_proxy.services.rendering import PredictionRenderer
from tests.support.aws import JOBS_TABLE, create_in_memory_aws
from tests.support.builders import BASE_URL, make_job
from tests.support.clock import NOW
from tests.support.fakes import FakeDocumentStore
from tests.support.prediction_api import CREATE_BODY, PredictionApi

if TYPE_CHECKING:
    from collections.abc import Mapping

S = JobStatus


def add(api: PredictionApi, number: int, status: JobStatus = S.SUCCEEDED, **fields: Any) -> str:
    """Store a job that is older the higher its number; return its ID."""
    job = make_job(status, created_at=NOW - timedelta(minutes=number), **fields)
    api.pipeline.store.put(job)
    return job.id


def find(api: PredictionApi, tenant: str = "acme", **query: str) -> list[str]:
    """Return the IDs of all pages, which only have results of their tenant."""
    ids: list[str] = []
    for _ in range(20):
        status, page, _ = api.get("/v1/predictions", query=query, tenant=tenant)
        assert status == 200, page
        ids += [prediction["id"] for prediction in page["results"]]
        if page["next"] is None:
            return ids
        query = dict(parse_qsl(urlsplit(page["next"]).query))
    raise AssertionError("the pages do not end")


def test_each_filter_selects_what_matches(api: PredictionApi) -> None:
    queued = add(api, 1, S.QUEUED, metadata={"order": "42"})
    processing = add(api, 2, S.PROCESSING, model="acme/flux")
    harvesting = add(api, 3, S.HARVESTING)
    failed = add(api, 4, S.FAILED, requested_model="acme/alias", model="acme/flux")
    succeeded = add(api, 5, metadata={"order": "42", "user": "7"})
    deployed = add(api, 6, submission=Submission(kind=SubmissionKind.DEPLOYMENT, owner="acme", name="fast"))
    add(api, 0, S.QUEUED, tenant="globex", metadata={"order": "42"}, model="acme/flux")

    assert find(api, status="starting") == [queued]
    assert find(api, status="processing") == [processing, harvesting]
    assert find(api, status="starting,failed") == [queued, failed]
    assert find(api, model="acme/flux") == [processing, failed]
    assert find(api, model="acme/alias") == [failed]
    assert find(api, model="acme/fast") == [deployed]
    assert find(api, **{"metadata.order": "42"}) == [queued, succeeded]
    assert find(api, **{"metadata.order": "42", "metadata.user": "7"}) == [succeeded]
    assert find(api, **{"metadata.order": "42", "status": "succeeded", "model": ""}) == [succeeded]
    before = (NOW - timedelta(minutes=4)).isoformat()
    assert find(api, created_before=before, **{"metadata.order": "42"}) == [succeeded]
    assert find(api, status="canceled") == []


def test_predictions_of_a_batch_are_found_wherever_they_are(api: PredictionApi) -> None:
    _, batch, _ = api.post("/v1/batches", {"predictions": [CREATE_BODY] * 3})
    ids = {prediction["id"] for prediction in batch["predictions"]}
    for number in range(1, 1200):
        add(api, -number)

    status, page, _ = api.get("/v1/predictions", query={"batch": batch["id"]})

    assert (status, page["next"]) == (200, None)
    assert {prediction["id"] for prediction in page["results"]} == ids
    assert find(api, batch=batch["id"], status="failed") == []
    assert find(api, batch=generate_id(NOW)) == []
    assert find(api, tenant="globex", batch=batch["id"]) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "queued"}, "status"),
        ({"status": "succeeded,aborted"}, "status"),
        ({"model": "a b"}, "model"),
        ({"batch": "b1"}, "batch"),
        ({"metadata.": "1"}, "metadata."),
        ({"metadata.a b": "1"}, "metadata.a b"),
        ({"metadata.order": ""}, "metadata.order"),
        ({"metadata.order": "a,b"}, "metadata.order"),
        ({f"metadata.n{number}": "1" for number in range(11)}, "metadata."),
        ({"metadata": "order=42"}, "metadata"),
        ({"source": "web"}, "source"),
        ({"tenant": "globex"}, "tenant"),
        ({"created_after": "yesterday"}, "created_after"),
    ],
)
def test_invalid_filter_is_refused_by_name(api: PredictionApi, query: dict[str, str], field: str) -> None:
    status, problem, _ = api.get("/v1/predictions", query=query)

    assert status == 400
    assert problem["invalid_fields"][0]["field"] == field


@given(
    st.dictionaries(
        st.sampled_from(["status", "model", "batch", "created_after", "created_before", "cursor"])
        | st.text(max_size=45).map(lambda name: f"metadata.{name}"),
        st.text(max_size=110) | st.sampled_from(["starting", "failed,", "acme/x", "2026-01-31T09:30:00Z"]),
        max_size=12,
    )
)
def test_any_query_is_a_filter_or_an_api_error(query: Mapping[str, str]) -> None:
    request = Request("GET", "/v1/predictions", "/v1/predictions", {}, query, {}, b"")
    with suppress(ApiError):
        parsed = parse_list_filter(request)
        names = {name.removeprefix("metadata.") for name in query if name.startswith("metadata.")}
        # Nothing that was asked for is ignored.
        assert set(parsed.metadata) == names
        assert bool(parsed.statuses) == bool(query.get("status", "").strip(","))
        assert (parsed.model or "", parsed.batch_id or "") == (query.get("model", ""), query.get("batch", ""))


def test_page_may_be_empty_and_go_on(api: PredictionApi) -> None:
    for number in range(PAGE_SIZE * MAX_READS + 150):
        add(api, number)
    rare = add(api, 5000, metadata={"order": "42"})

    _, first, _ = api.get("/v1/predictions", query={"metadata.order": "42"})
    _, second, _ = api.get("/v1/predictions", query=dict(parse_qsl(urlsplit(first["next"]).query)))
    _, back, _ = api.get("/v1/predictions", query=dict(parse_qsl(urlsplit(second["previous"]).query)))

    assert (first["results"], first["previous"]) == ([], None)
    assert ([found["id"] for found in second["results"]], second["next"]) == ([rare], None)
    assert back["results"] == []
    following = api.get("/v1/predictions", query=dict(parse_qsl(urlsplit(back["next"]).query)))[1]
    assert following["results"] == second["results"]


def test_empty_last_page_leads_back_to_the_page_before(api: PredictionApi) -> None:
    """A page that is full does not know that nothing else matches."""
    matching = range(PAGE_SIZE + 10, PAGE_SIZE * 2 + 10)
    for number in range(PAGE_SIZE * 3 + 20):
        add(api, number, S.SUCCEEDED if number in matching else S.FAILED)

    def follow(url: str) -> Any:
        return api.get("/v1/predictions", query=dict(parse_qsl(urlsplit(url).query)))[1]

    _, first, _ = api.get("/v1/predictions", query={"status": "succeeded"})
    assert len(first["results"]) == PAGE_SIZE
    last = follow(first["next"])
    assert (last["results"], last["next"]) == ([], None)
    before = follow(last["previous"])
    assert before["results"] == first["results"]
    # In the other direction, too.
    newest = follow(before["previous"])
    assert (newest["results"], newest["previous"]) == ([], None)
    assert follow(newest["next"])["results"] == first["results"]


@pytest.mark.parametrize("query", [{}, {"status": "failed"}, {"metadata.order": "42", "status": "failed"}])
def test_pages_lead_forward_and_back_through_the_same_results(
    api: PredictionApi, query: dict[str, str]
) -> None:
    for number in range(700):
        add(api, number, S.FAILED if number % 2 else S.SUCCEEDED, metadata={"order": "42"})
    pages = [api.get("/v1/predictions", query=query)[1]]
    while pages[-1]["next"]:
        pages.append(api.get("/v1/predictions", query=dict(parse_qsl(urlsplit(pages[-1]["next"]).query)))[1])
    assert [len(page["results"]) for page in pages[:3]] == [100, 100, 100]

    page = pages[-1]
    for earlier in reversed(pages[:-1]):
        page = api.get("/v1/predictions", query=dict(parse_qsl(urlsplit(page["previous"]).query)))[1]
        assert page["results"] == earlier["results"]
    if page["previous"]:
        # What is newer does not match, which is not known before it is looked at.
        page = api.get("/v1/predictions", query=dict(parse_qsl(urlsplit(page["previous"]).query)))[1]
        assert page["results"] == []
    assert page["previous"] is None


@given(
    st.lists(
        st.sampled_from(["newer", "globex", "acme", "JOBS", "tenant", ""]) | st.text(max_size=30),
        max_size=3,
    ),
    st.booleans(),
    st.integers(0, 2),
)
def test_no_cursor_shows_another_tenants_predictions(
    parts: list[str], has_foreign_id: bool, position: int
) -> None:
    # Hypothesis does not reset fixtures between examples.
    own = make_job(created_at=NOW)
    foreign = [make_job(tenant="globex", created_at=NOW + timedelta(minutes=n)) for n in (-1, 1)]
    reader = _build_list([own, *foreign])
    parts = [*parts[:position], foreign[position % 2].id, *parts[position:]] if has_foreign_id else parts

    shown = _read_with_cursor(reader, encode_cursor(parts))

    assert shown is None or shown in ([], [own.id])


def test_cursor_of_another_tenant_is_a_position_in_the_own_list(api: PredictionApi) -> None:
    own = [add(api, number) for number in range(3)]
    for number in range(150):
        add(api, number, tenant="globex")
    foreign = api.get("/v1/predictions", tenant="globex")[1]
    cursor = dict(parse_qsl(urlsplit(foreign["next"]).query))["cursor"]

    assert find(api, cursor=cursor) == []
    newer = encode_cursor((generate_id(NOW - timedelta(days=1)), "newer"))
    assert find(api, cursor=newer) == own
    forged_positions = (("globex", own[0]), (own[0], "older"), ("JOB#globex",))
    for forged in ("acme", quote("globex"), *map(encode_cursor, forged_positions)):
        assert api.get("/v1/predictions", query={"cursor": forged})[0] == 400


def test_bounds_of_ids_include_those_of_the_same_times() -> None:
    low, high = find_bounds(generate_id(NOW), min_id_at(NOW + timedelta(seconds=1)))
    inside = [generate_id(NOW + timedelta(milliseconds=shift)) for shift in (0, 500, 1000)]
    outside = [generate_id(NOW + timedelta(milliseconds=shift)) for shift in (-1, 1001)]
    assert low == min_id_at(NOW)
    assert all(low <= each < high for each in inside)
    assert not any(low <= each < high for each in outside)


class _CountingClient:
    """Counts the requests, and the items that they read."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def query(self, **request: Any) -> Any:
        self.counts["query"] += 1
        return self._client.query(**request)

    def batch_get_item(self, **request: Any) -> Any:
        self.counts["batch_get_item"] += 1
        (batch,) = request["RequestItems"].values()
        self.counts["items"] += len(batch["Keys"])
        return self._client.batch_get_item(**request)


def test_page_reads_as_much_among_ten_thousand_jobs_as_among_two_thousand() -> None:
    client: Any = _CountingClient(create_in_memory_aws().client("dynamodb"))
    store = DynamoJobStore(client, JOBS_TABLE)
    batches = DynamoBatchStore(client, JOBS_TABLE, store)
    reader = PredictionList(store, batches.get, PredictionRenderer(FakeDocumentStore()))

    def add_jobs(first: int, last: int) -> None:
        for number in range(first, last):
            status = S.FAILED if number % 10 == 0 else S.SUCCEEDED
            tenant = "globex" if number % 5 == 0 else "acme"
            moment = NOW - timedelta(minutes=number)
            store.create(make_job(status, tenant=tenant, created_at=moment, metadata={"order": "42"}))

    batched = [make_job(created_at=NOW - timedelta(days=99), batch_id="b") for _ in range(3)]
    batch = Batch(
        tenant="acme",
        id=generate_id(NOW - timedelta(days=99, milliseconds=5)),
        created_at=NOW - timedelta(days=99),
        public_base_url=BASE_URL,
        job_ids=tuple(job.id for job in batched),
    )
    batches.create(batch, [replace(job, batch_id=batch.id) for job in batched])
    filters = (
        JobFilter(),
        JobFilter(created_before=NOW - timedelta(minutes=500)),
        JobFilter(statuses=frozenset({S.SUCCEEDED})),
        JobFilter(statuses=frozenset({S.QUEUED})),
        JobFilter(metadata={"order": "43"}),
        JobFilter(model="acme/rare"),
        JobFilter(batch_id=batch.id),
    )

    def measure() -> list[tuple[int, int, int]]:
        measured = []
        for each in filters:
            client.counts.clear()
            page = reader.read("acme", each)
            measured.append((client.counts["query"], client.counts["items"], len(page.results)))
        return measured

    add_jobs(0, 2_000)
    among_few = measure()
    add_jobs(2_000, 10_000)

    assert measure() == among_few
    assert among_few[0] == (1, 100, 100)
    assert among_few[-1] == (1, 3, 3)
    assert max(queries for queries, _, _ in among_few) <= MAX_READS
    assert max(items for _, items, _ in among_few) <= PAGE_SIZE * MAX_READS


def _build_list(jobs: list[Job]) -> PredictionApi:
    api = PredictionApi()
    for job in jobs:
        api.pipeline.store.put(job)
    return api


def _read_with_cursor(api: PredictionApi, cursor: str) -> list[str] | None:
    """Return the IDs on the page, None if the cursor is refused."""
    status, page, _ = api.get("/v1/predictions", query={"cursor": cursor})
    assert status in {200, 400}
    return [prediction["id"] for prediction in page["results"]] if status == 200 else None
