"""The prediction routes, from API Gateway's event to its reply, over the whole pipeline in memory."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from replicate_proxy.api.batches import add_batch_read_routes, add_batch_write_routes
from replicate_proxy.api.predictions.create_request import JobRequestParser, ParserSettings
from replicate_proxy.api.predictions.read_routes import query_routes
from replicate_proxy.api.predictions.write_routes import ingest_routes
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.replicate_api.errors import OutcomeUnknownError, RejectedError
from replicate_proxy.services.batches import BatchReader
from replicate_proxy.services.query import PredictionReader
from replicate_proxy.services.rendering import PredictionRenderer
from replicate_proxy.services.wait import JobWaiter
from tests.support.builders import VERSION, make_event, make_job
from tests.support.clock import NOW
from tests.support.world import World

BODY = {"version": VERSION, "input": {"prompt": "a cat"}}
ADDRESS = "https://proxy.test/prod"


class Api:
    """Both functions' routes; time that a hold sleeps passes for the pipeline too."""

    def __init__(self, *, reply_bytes: int = 5_500_000) -> None:
        self.world = World()
        views = PredictionRenderer(self.world.documents, max_reply_bytes=reply_bytes)
        hold = JobWaiter(self.world.store, self.world.clock, self._sleep, max_wait_seconds=25)
        reader = JobRequestParser(ParserSettings(max_body_bytes=100_000), lambda *_: None)
        self.writes = ingest_routes(
            reader=reader,
            ingest=self.world.job_creator,
            cancel=self.world.canceler,
            hold=hold,
            views=views,
        )
        add_batch_write_routes(self.writes, reader=reader, batches=self.world.batch_service, views=views)
        self.reads = query_routes(PredictionReader(self.world.store, views))
        add_batch_read_routes(self.reads, batches=BatchReader(self.world.batch_store), views=views)
        self.finishes_after = 1e9

    def _sleep(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.world.drain_messages()
        if self.world.elapsed_seconds >= self.finishes_after and "p1" in self.world.replicate.predictions:
            self.world.replicate.finish("p1")
            self.world.send_webhook("p1")
            self.world.drain_messages()

    def post(
        self, resource: str = "/v1/predictions", body: Any = BODY, **fields: Any
    ) -> tuple[int, Any, Any]:
        return _read(self.writes.handle(make_event("POST", resource, body=body, **fields)))

    def get(self, resource: str, **fields: Any) -> tuple[int, Any, Any]:
        return _read(self.reads.handle(make_event("GET", resource, **fields)))

    def show(self, job_id: str, **fields: Any) -> tuple[int, Any, Any]:
        return self.get("/v1/predictions/{id}", params={"id": job_id}, **fields)


def _read(response: dict[str, Any]) -> tuple[int, Any, Any]:
    return response["statusCode"], json.loads(response["body"]), response["headers"]


@pytest.fixture
def api() -> Api:
    return Api()


def test_a_create_answers_with_what_every_client_needs(api: Api) -> None:
    status, prediction, headers = api.post()
    assert status == 201
    assert prediction["status"] == "starting"
    assert (prediction["model"], prediction["version"]) == ("", VERSION)
    assert prediction["input"] == {"prompt": "a cat"}
    assert (prediction["output"], prediction["error"]) == (None, None)
    assert prediction["urls"]["get"] == f"{ADDRESS}/v1/predictions/{prediction['id']}"
    assert all(isinstance(url, str) and url.startswith(ADDRESS) for url in prediction["urls"].values())
    assert headers["location"] == prediction["urls"]["get"]


@pytest.mark.parametrize(
    ("resource", "shown"),
    [
        ("/v1/models/{owner}/{name}/predictions", {"model": "acme/sdxl"}),
        ("/v1/deployments/{owner}/{name}/predictions", {"deployment": "acme/sdxl"}),
    ],
)
def test_models_and_deployments_are_created_by_name(api: Api, resource: str, shown: dict[str, str]) -> None:
    names = {"owner": "acme", "name": "sdxl"}
    status, prediction, _ = api.post(resource, {"input": {}}, params=names)
    assert status == 201
    assert shown.items() <= prediction.items()
    assert prediction["version"] == "hidden"
    for bad in ("..", "a%2Fb", "", "ä"):
        assert api.post(resource, {"input": {}}, params={**names, "name": bad})[0] == 404


def test_the_services_own_post_takes_the_model_from_the_input(api: Api) -> None:
    status, prediction, _ = api.post("/", {"input": {"model": "acme/sdxl", "prompt": "x"}})
    assert (status, prediction["model"], prediction["input"]) == (201, "acme/sdxl", {"prompt": "x"})
    assert api.get("/", query={"predictionId": prediction["id"]})[1]["id"] == prediction["id"]
    assert api.get("/")[0] == 400


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"Cancel-After": "soon"}, "Cancel-After"),
        ({"Cancel-After": "1s"}, "Cancel-After"),
        ({"Idempotency-Key": "ä"}, "Idempotency-Key"),
        ({"Idempotency-Key": "k" * 256}, "Idempotency-Key"),
        ({"Idempotency-Key": ""}, "Idempotency-Key"),
        ({"X-Image-Format": "bmp"}, "X-Image-Format"),
        ({"X-Image-Quality": "101"}, "X-Image-Quality"),
    ],
)
def test_a_wrong_header_is_named(api: Api, headers: dict[str, str], field: str) -> None:
    status, problem, _ = api.post(headers=headers)
    assert status == 422
    assert problem["invalid_fields"][0]["field"] == field
    assert api.world.store.jobs == {}


@pytest.mark.parametrize(
    "webhook",
    [
        "http://app.test/",
        "ftp://app.test/",
        "app.test",
        "https://",
        "https://u:p@app.test/",
        "https://a:99999/",
    ],
)
def test_a_webhook_must_be_a_plain_https_url(api: Api, webhook: str) -> None:
    status, problem, _ = api.post(body={**BODY, "webhook": webhook})
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "webhook")


def test_a_body_too_large_says_what_to_do(api: Api) -> None:
    status, problem, _ = api.post(body={**BODY, "input": {"image": "x" * 100_001}})
    assert status == 413
    assert "upload" in problem["detail"]


def test_scopes_are_needed(api: Api) -> None:
    assert api.post(scopes="predictions:read")[0] == 403
    assert api.get("/v1/predictions", scopes="predictions:write")[0] == 403
    assert api.post(tenant="")[0] == 401


def test_a_queue_that_fails_is_still_a_201() -> None:
    api = Api()
    api.world.fault_occurs = lambda name: name == "queue.failed"
    assert api.post()[0] == 201


def test_a_table_that_fails_is_a_503_with_a_time(api: Api) -> None:
    api.world.store.faults.fail("create")
    status, problem, headers = api.post()
    assert status == 503
    assert problem["retry_after"] == int(headers["retry-after"]) > 0


def test_an_idempotency_key_replays(api: Api) -> None:
    key = {"Idempotency-Key": "order-1"}
    first, again = api.post(headers=key), api.post(headers=key)
    assert first[1]["id"] == again[1]["id"]
    assert ("idempotent-replayed" in first[2], again[2]["idempotent-replayed"]) == (False, "true")
    status, problem, _ = api.post(body={**BODY, "input": {"prompt": "a dog"}}, headers=key)
    assert (status, problem["title"]) == (409, "Idempotency key in use")


class TestWaiting:
    def test_answers_with_the_output_once_it_is_there(self, api: Api) -> None:
        api.finishes_after = 4
        status, prediction, headers = api.post(headers={"Prefer": "wait=30"})
        assert (status, prediction["status"]) == (201, "succeeded")
        assert prediction["output"] == [f"https://outputs.test/{prediction['id']}.webp"]
        assert headers["preference-applied"] == "wait=30"
        assert api.world.elapsed_seconds < 6

    def test_that_ends_early_says_starting_whatever_goes_on(self, api: Api) -> None:
        api.world.clock.advance(0)
        status, prediction, _ = api.post(headers={"Prefer": "wait"})
        assert (status, prediction["status"], prediction["output"]) == (202, "starting", None)
        assert 25 <= api.world.elapsed_seconds < 26

    def test_is_no_longer_than_asked(self, api: Api) -> None:
        api.post(headers={"Prefer": "wait=2"})
        assert api.world.elapsed_seconds == pytest.approx(2)

    def test_tells_failures(self, api: Api) -> None:
        api.world.replicate.faults.fail("create", error=RejectedError(402, "No credit", "pay first"))
        status, prediction, _ = api.post(headers={"Prefer": "wait"})
        assert (status, prediction["status"]) == (201, "failed")
        assert prediction["error"] == "No credit: pay first"


class TestReading:
    def test_another_tenants_prediction_does_not_exist(self, api: Api) -> None:
        job_id = api.post()[1]["id"]
        assert api.show(job_id)[0] == 200
        assert api.show(job_id, tenant="other")[0] == 404
        assert api.show("nothing")[0] == 404

    @pytest.mark.parametrize("status", JobStatus)
    def test_only_replicates_words_and_no_output_before_the_end(self, api: Api, status: JobStatus) -> None:
        job = api.world.store.put(
            make_job(status, output=api.world.documents.save("acme", "x", "output", ["url"]))
        )
        prediction = api.show(job.id)[1]
        assert prediction["status"] in {"starting", "processing", "succeeded", "failed", "canceled"}
        assert prediction["output"] == (["url"] if status is JobStatus.SUCCEEDED else None)
        assert ("completed_at" in prediction) == (job.is_terminal and job.completed_at is not None)

    def test_an_unknown_outcome_is_starting(self, api: Api) -> None:
        api.world.replicate.faults.fail("create", error=OutcomeUnknownError("reset"))
        job_id = api.post()[1]["id"]
        api.world.drain_messages()
        prediction = api.show(job_id)[1]
        assert (prediction["status"], prediction["proxy"]["status"]) == ("starting", "submit_unknown")

    def test_a_prediction_too_large_for_one_reply_says_what_it_leaves_out(self) -> None:
        api = Api(reply_bytes=20_000)
        documents = api.world.documents
        job = api.world.store.put(
            make_job(
                JobStatus.SUCCEEDED,
                logs=documents.save("acme", "x", "logs", "l" * 30_000),
                output=documents.save("acme", "x", "output", ["url"]),
            )
        )
        prediction = api.show(job.id)[1]
        assert (prediction["logs"], prediction["output"]) == ("", ["url"])
        assert prediction["proxy"]["omitted"] == ["logs"]


class TestPages:
    @pytest.fixture
    def ids(self, api: Api) -> list[str]:
        made = []
        for _ in range(230):
            api.world.clock.advance(1)
            made.append(api.world.accept_job().job.id)
        return made[::-1]

    def walk(self, api: Api, **query: str) -> list[str]:
        seen: list[str] = []
        for _ in range(10):
            status, page, _ = api.get("/v1/predictions", query=query)
            assert status == 200
            seen += [prediction["id"] for prediction in page["results"]]
            if page["next"] is None:
                return seen
            assert page["next"].startswith(f"{ADDRESS}/v1/predictions?")
            query = dict(parse_qsl(urlsplit(page["next"]).query))
        raise AssertionError("pages go on for ever")

    def test_follow_each_other_newest_first(self, api: Api, ids: list[str]) -> None:
        assert self.walk(api) == ids

    def test_keep_their_time_bounds(self, api: Api, ids: list[str]) -> None:
        after, before = NOW + timedelta(seconds=11), NOW + timedelta(seconds=221)
        seen = self.walk(api, created_after=after.isoformat(), created_before=before.isoformat())
        assert seen == ids[10:220]

    def test_of_bounds_that_cross_are_empty(self, api: Api, ids: list[str]) -> None:
        bounds = {"created_after": "2030-01-01T00:00:00Z", "created_before": "2020-01-01T00:00:00Z"}
        assert self.walk(api, **bounds) == []

    def test_shrink_to_what_a_reply_holds(self, ids: list[str]) -> None:
        api = Api(reply_bytes=5_000)
        wanted = [api.world.accept_job().job.id for _ in range(9)]
        page = api.get("/v1/predictions")[1]
        assert 1 <= len(page["results"]) < 9
        assert sorted(self.walk(api)) == sorted(wanted)

    @pytest.mark.parametrize(
        "query",
        [{"cursor": "x"}, {"cursor": "ä"}, {"created_after": "now"}, {"created_before": "2026-01-01"}],
    )
    def test_refuse_what_they_cannot_read(self, api: Api, query: dict[str, str]) -> None:
        status, problem, _ = api.get("/v1/predictions", query=query)
        assert status == 400
        assert problem["invalid_fields"][0]["field"] in query


class TestCanceling:
    def cancel(self, api: Api, job_id: str, **fields: Any) -> tuple[int, Any, Any]:
        resource = "/v1/predictions/{id}/cancel"
        return api.post(resource, None, params={"id": job_id}, **fields)

    def test_answers_with_the_canceled_prediction(self, api: Api) -> None:
        job_id = api.post()[1]["id"]
        status, prediction, _ = self.cancel(api, job_id)
        assert (status, prediction["status"]) == (200, "canceled")
        assert self.cancel(api, job_id)[1] == prediction

    def test_of_another_tenants_prediction_finds_nothing(self, api: Api) -> None:
        job_id = api.post()[1]["id"]
        assert self.cancel(api, job_id, tenant="other")[0] == 404
        assert self.cancel(api, "x" * 3000)[0] == 404
        assert api.world.store.only_job().status is JobStatus.QUEUED


def test_health_needs_no_caller(api: Api) -> None:
    event = make_event("GET", "/health")
    del event["requestContext"]["authorizer"]
    assert api.reads.handle(event)["statusCode"] == 200
