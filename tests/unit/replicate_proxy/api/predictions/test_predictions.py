"""The routes of predictions, from API Gateway's event to the response, over the whole pipeline in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from replicate_proxy.api.pagination import encode_cursor
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.model_entries.entry import ModelEntry
from replicate_proxy.replicate_api.errors import OutcomeUnknownError, RejectedError
from replicate_proxy.response_size import MAX_RESPONSE_BYTES
from replicate_proxy.services.rendering import PredictionRenderer
from tests.support.builders import VERSION, make_event, make_job
from tests.support.clock import NOW
from tests.support.prediction_api import API_URL, CREATE_BODY, PredictionApi

LAMBDA_LIMIT_BYTES = 6_291_556


def test_create_returns_what_clients_need(api: PredictionApi) -> None:
    status, prediction, headers = api.post()
    assert status == 201
    assert prediction["status"] == "starting"
    assert (prediction["model"], prediction["version"]) == (VERSION, VERSION)
    assert prediction["input"] == {"prompt": "a cat"}
    assert prediction["error"] is None
    assert "output" not in prediction
    assert prediction["urls"]["get"] == f"{API_URL}/v1/predictions/{prediction['id']}"
    assert all(isinstance(url, str) and url.startswith(API_URL) for url in prediction["urls"].values())
    assert headers["location"] == prediction["urls"]["get"]


@pytest.mark.parametrize(
    ("resource", "shown"),
    [
        ("/v1/models/{owner}/{name}/predictions", {"model": "acme/sdxl"}),
        ("/v1/deployments/{owner}/{name}/predictions", {"deployment": "acme/sdxl"}),
    ],
)
def test_create_by_name_accepts_valid_names_only(
    api: PredictionApi, resource: str, shown: dict[str, str]
) -> None:
    names = {"owner": "acme", "name": "sdxl"}
    status, prediction, _ = api.post(resource, {"input": {}}, params=names)
    assert status == 201
    assert shown.items() <= prediction.items()
    assert prediction["version"] == "hidden"
    for invalid_name in ("..", "a%2Fb", "", "ä"):
        assert api.post(resource, {"input": {}}, params={**names, "name": invalid_name})[0] == 404


class TestKnownModels:
    @pytest.fixture
    def api(self, api: PredictionApi) -> PredictionApi:
        api.models.versions[VERSION] = "acme/sdxl"
        return api

    def test_model_of_known_version_is_shown_at_once(self, api: PredictionApi) -> None:
        assert api.post()[1]["model"] == "acme/sdxl"
        batch = api.post("/v1/batches", {"predictions": [{"version": VERSION, "input": {}}]})[1]
        assert batch["predictions"][0]["model"] == "acme/sdxl"

    def test_known_model_of_a_version_counts_more_than_the_claimed_name(self, api: PredictionApi) -> None:
        api.entries.entries["acme/sdxl"] = ModelEntry(name="acme/sdxl", allowed_tenants=("globex",))
        body = {"version": f"other/name:{VERSION}", "input": {}}
        assert api.post(body=body)[0] == 403

    @pytest.mark.parametrize(
        ("resource", "missing", "status"),
        [
            ("/v1/models/{owner}/{name}/predictions", "models/acme/none", 404),
            ("/v1/deployments/{owner}/{name}/predictions", "deployments/acme/none", 404),
        ],
    )
    def test_missing_target_is_a_404(
        self, api: PredictionApi, resource: str, missing: str, status: int
    ) -> None:
        params = {"owner": "acme", "name": "none"}
        assert api.post(resource, {"input": {}}, params=params)[0] == 201
        api.models.missing.add(missing)
        assert api.post(resource, {"input": {}}, params=params)[0] == status
        assert len(api.pipeline.store.jobs) == 1

    @pytest.mark.parametrize(
        ("version", "missing", "status"),
        [
            ("acme/none", "models/acme/none", 404),
            (VERSION, f"versions/{VERSION}", 422),
            (f"acme/none:{VERSION}", f"versions/{VERSION}", 422),
        ],
    )
    def test_missing_version_is_rejected_as_replicate_does(
        self, api: PredictionApi, version: str, missing: str, status: int
    ) -> None:
        api.models.missing.add(missing)
        entry = {"version": version, "input": {}}
        assert api.post(body=entry)[0] == status
        assert api.post("/", entry)[0] == status
        assert api.post("/v1/batches", {"predictions": [entry]})[0] == status
        assert api.pipeline.store.jobs == {}


def test_plain_create_takes_model_from_input(api: PredictionApi) -> None:
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
def test_create_names_invalid_header(api: PredictionApi, headers: dict[str, str], field: str) -> None:
    status, problem, _ = api.post(headers=headers)
    assert status == 422
    assert problem["invalid_fields"][0]["field"] == field
    assert problem["detail"].startswith(f"- {field}: ")
    assert api.pipeline.store.jobs == {}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("image/avif", {"accepts_avif": True}),
        ("application/json, Image/AVIF;q=0.8", {"accepts_avif": True}),
        ("image/avif;q=0, */*", {}),
        ("image/avif; q=0.000", {}),
        ("*/*", {}),
        ("image/*", {}),
        ("", {}),
    ],
)
def test_create_records_whether_accept_header_names_avif(
    api: PredictionApi, accept: str, expected: dict[str, Any]
) -> None:
    assert api.post(headers={"Accept": accept})[0] == 201

    (job,) = api.pipeline.store.jobs.values()
    assert job.image_options == expected


@pytest.mark.parametrize(
    "webhook",
    [
        "http://app.test/",
        "ftp://app.test/",
        "app.test",
        "https://",
        "https://u:p@app.test/",
        "https://a:99999/",
        "https://app.test:8443/",
        "https://\u2603.net/hook",
        "https://ex\u200damp.com/",
        " https://app.test/",
        "https://app.test/my hook",
        "https://2130706433/x",
        "https://10.0.0.1/",
        "https://localhost/",
        "https://[v1.a]/",
        "",
    ],
)
@pytest.mark.parametrize("field", ["webhook", "webhook_completed"])
def test_create_rejects_webhook_that_cannot_be_called(api: PredictionApi, webhook: str, field: str) -> None:
    status, problem, _ = api.post(body={**CREATE_BODY, field: webhook})
    assert (status, problem["invalid_fields"][0]["field"]) == (422, field)
    assert api.pipeline.store.jobs == {}


def test_create_with_too_large_body_says_what_to_do(api: PredictionApi) -> None:
    status, problem, _ = api.post(body={**CREATE_BODY, "input": {"image": "x" * 100_001}})
    assert status == 413
    assert "upload" in problem["detail"]


def test_routes_require_their_scopes(api: PredictionApi) -> None:
    assert api.post(scopes="predictions:read")[0] == 403
    assert api.get("/v1/predictions", scopes="predictions:write")[0] == 403
    assert api.post(tenant="")[0] == 401


def test_scope_to_write_includes_reading_what_the_request_names(api: PredictionApi) -> None:
    """docs/decisions/0029-write-includes-reading-what-it-names.md."""
    headers = {"Idempotency-Key": "k"}
    prediction_id = api.post(headers=headers, scopes="predictions:write")[1]["id"]
    api.pipeline.drain_messages()
    api.pipeline.replicate.finish("p1")
    api.pipeline.send_webhook("p1")
    api.pipeline.drain_messages()
    replayed = api.post(headers=headers, scopes="predictions:write")[1]
    canceled = api.post(
        "/v1/predictions/{id}/cancel", None, params={"id": prediction_id}, scopes="predictions:write"
    )[1]
    assert replayed == canceled == api.get_prediction(prediction_id)[1]
    assert replayed["output"]
    assert api.get_prediction(prediction_id, scopes="predictions:write")[0] == 403


def test_create_returns_201_when_queueing_fails(api: PredictionApi) -> None:
    api.pipeline.fault_occurs = lambda name: name == "queue.failed"
    assert api.post()[0] == 201


def test_create_returns_503_with_retry_after_when_table_fails(api: PredictionApi) -> None:
    api.pipeline.store.faults.fail("create")
    status, problem, headers = api.post()
    assert status == 503
    assert problem["retry_after"] == int(headers["retry-after"]) > 0


@pytest.mark.parametrize("is_unreadable", [False, True])
def test_create_whose_write_is_not_confirmed_asks_clients_not_to_repeat_it(
    api: PredictionApi, is_unreadable: bool
) -> None:
    """The beta of Replicate's Python client repeats every other 5xx (_base_client.py, _should_retry)."""
    api.pipeline.store.faults.fail("create")
    if is_unreadable:
        api.pipeline.store.faults.fail("get")
    status, problem, headers = api.post()

    assert (status, headers["x-should-retry"]) == (503, "false")
    assert "not certain that nothing was recorded" in problem["detail"]


def test_create_with_an_idempotency_key_may_be_repeated_after_a_503(api: PredictionApi) -> None:
    api.pipeline.store.faults.fail("create")
    status, problem, headers = api.post(headers={"Idempotency-Key": "order-1"})

    assert (status, problem["detail"]) == (503, "Try again in a moment")
    assert "x-should-retry" not in headers


def test_create_that_fails_before_its_write_may_be_repeated(api: PredictionApi) -> None:
    api.pipeline.documents.faults.fail("save")
    status, _, headers = api.post()

    assert status == 503
    assert "x-should-retry" not in headers


def test_create_with_used_idempotency_key_is_replayed(api: PredictionApi) -> None:
    key = {"Idempotency-Key": "order-1"}
    first, second = api.post(headers=key), api.post(headers=key)
    assert first[1]["id"] == second[1]["id"]
    assert ("idempotent-replayed" in first[2], second[2]["idempotent-replayed"]) == (False, "true")
    status, problem, _ = api.post(body={**CREATE_BODY, "input": {"prompt": "a dog"}}, headers=key)
    assert (status, problem["title"]) == (409, "Idempotency key in use")


def test_created_prediction_is_shown_although_its_input_cannot_be_read(api: PredictionApi) -> None:
    """With an error its caller would create another one."""
    body = {**CREATE_BODY, "input": {"prompt": "x" * 5000}}
    api.pipeline.documents.faults.fail("read")
    status, prediction, _ = api.post(body=body)
    assert (status, prediction["status"], prediction["input"]) == (201, "starting", {})
    assert prediction["proxy"]["omitted"] == ["input"]
    assert api.get("/v1/predictions/{id}", params={"id": prediction["id"]})[1]["input"] == body["input"]


def test_replay_whose_input_cannot_be_read_is_a_503(api: PredictionApi) -> None:
    body, key = {**CREATE_BODY, "input": {"prompt": "x" * 5000}}, {"Idempotency-Key": "order-1"}
    api.post(body=body, headers=key)
    api.pipeline.documents.faults.fail("read")
    assert api.post(body=body, headers=key)[0] == 503


def test_key_of_a_deleted_prediction_stores_nothing_again(api: PredictionApi) -> None:
    body, key = {**CREATE_BODY, "input": {"prompt": "x" * 5000}}, {"Idempotency-Key": "order-1"}
    params = {"id": api.post(body=body, headers=key)[1]["id"]}
    api.post("/v1/predictions/{id}/cancel", None, params=params)
    delete = make_event("DELETE", "/v1/predictions/{id}", params=params)
    assert api.writes.handle(delete)["statusCode"] == 204
    api.pipeline.documents.objects.clear()  # as the sweep does
    api.pipeline.clock.advance(60)
    assert api.post(body=body, headers=key)[0] == 410
    assert api.pipeline.documents.objects == {}


class TestPreferWait:
    def test_result_that_cannot_be_read_is_left_to_the_next_request(
        self, api: PredictionApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **_options: object) -> None:
            raise RetryableError("the output cannot be read")

        monkeypatch.setattr(PredictionRenderer, "render", fail)
        api.finishes_after = 4
        status, prediction, _ = api.post(headers={"Prefer": "wait=30"})
        assert [job.status for job in api.pipeline.store.jobs.values()] == [JobStatus.SUCCEEDED]
        assert (status, prediction["status"], "output" in prediction) == (202, "starting", False)

    def test_create_is_answered_at_once_while_too_many_wait(self, api: PredictionApi) -> None:
        api.wait_limiter.has_place = False
        status, prediction, headers = api.post(headers={"Prefer": "wait"})
        assert (status, prediction["status"]) == (201, "starting")
        assert "preference-applied" not in headers
        assert api.pipeline.elapsed_seconds == 0

    @pytest.mark.parametrize("prefer", ["wait", "wait=60000", "wait=1.5"])
    def test_running_replay_is_shown_as_starting_while_too_many_wait(
        self, api: PredictionApi, prefer: str
    ) -> None:
        """Clients take any other status of a response to `Prefer: wait` for the end."""
        headers = {"Idempotency-Key": "order-1", "Prefer": prefer}
        created = api.post(headers=headers)[1]
        api.pipeline.replicate.start("p1")
        api.pipeline.send_webhook("p1")
        api.pipeline.drain_messages()
        api.wait_limiter.has_place = False
        assert api.get_prediction(created["id"])[1]["status"] == "processing"

        status, replayed, headers = api.post(headers=headers)

        assert (status, replayed["id"], replayed["status"]) == (201, created["id"], "starting")
        assert headers["idempotent-replayed"] == "true"

    def test_wait_is_shorter_by_the_time_since_the_request_was_received(self, api: PredictionApi) -> None:
        received_at = int((NOW - timedelta(seconds=10)).timestamp() * 1000)
        event = make_event("POST", "/v1/predictions", body=CREATE_BODY, headers={"Prefer": "wait"})
        event["requestContext"]["requestTimeEpoch"] = received_at
        assert api.writes.handle(event)["statusCode"] == 202
        assert api.pipeline.elapsed_seconds == pytest.approx(17)

    def test_returns_output_once_final(self, api: PredictionApi) -> None:
        api.finishes_after = 4
        status, prediction, headers = api.post(headers={"Prefer": "wait=30"})
        assert (status, prediction["status"]) == (201, "succeeded")
        assert prediction["output"] == [f"https://outputs.test/{prediction['id']}.webp"]
        assert headers["preference-applied"] == "wait=30"
        assert api.pipeline.elapsed_seconds < 6

    def test_returns_starting_when_wait_expires(self, api: PredictionApi) -> None:
        status, prediction, _ = api.post(headers={"Prefer": "wait"})
        assert (status, prediction["status"], "output" in prediction) == (202, "starting", False)
        assert 25 <= api.pipeline.elapsed_seconds < 26

    def test_waits_no_longer_than_requested(self, api: PredictionApi) -> None:
        api.post(headers={"Prefer": "wait=2"})
        assert api.pipeline.elapsed_seconds == pytest.approx(2)

    def test_returns_failure(self, api: PredictionApi) -> None:
        api.pipeline.replicate.faults.fail("create", error=RejectedError(402, "No credit", "pay first"))
        status, prediction, _ = api.post(headers={"Prefer": "wait"})
        assert (status, prediction["status"]) == (201, "failed")
        assert prediction["error"] == "No credit: pay first"


class TestGet:
    def test_other_tenants_prediction_is_not_found(self, api: PredictionApi) -> None:
        prediction_id = api.post()[1]["id"]
        assert api.get_prediction(prediction_id)[0] == 200
        assert api.get_prediction(prediction_id, tenant="other")[0] == 404
        assert api.get_prediction("nothing")[0] == 404

    @pytest.mark.parametrize("status", JobStatus)
    def test_status_is_replicates_and_output_is_shown_only_when_final(
        self, api: PredictionApi, status: JobStatus
    ) -> None:
        output = api.pipeline.documents.save("acme", "x", "output", ["url"])
        job = api.pipeline.store.put(make_job(status, output=output))
        prediction = api.get_prediction(job.id)[1]
        assert prediction["status"] in {"starting", "processing", "succeeded", "failed", "canceled"}
        assert ("output" in prediction) is job.is_terminal
        assert prediction.get("output") == (["url"] if job.is_terminal else None)

    def test_unknown_outcome_is_shown_as_starting(self, api: PredictionApi) -> None:
        api.pipeline.replicate.faults.fail("create", error=OutcomeUnknownError("reset"))
        prediction_id = api.post()[1]["id"]
        api.pipeline.drain_messages()
        prediction = api.get_prediction(prediction_id)[1]
        assert (prediction["status"], prediction["proxy"]["status"]) == ("starting", "submit_unknown")

    def test_prediction_too_large_for_one_response_lists_omitted_fields(self) -> None:
        api = PredictionApi(max_page_bytes=20_000)
        documents = api.pipeline.documents
        job = api.pipeline.store.put(
            make_job(
                JobStatus.SUCCEEDED,
                logs=documents.save("acme", "x", "logs", "l" * 30_000),
                output=documents.save("acme", "x", "output", ["url"]),
            )
        )
        prediction = api.get_prediction(job.id)[1]
        assert (prediction["logs"], prediction["output"]) == ("", ["url"])
        assert prediction["proxy"]["omitted"] == ["logs"]

    def test_output_too_large_for_any_response_is_omitted(self) -> None:
        api = PredictionApi(max_page_bytes=20_000)
        output = api.pipeline.documents.save("acme", "x", "output", "o" * 30_000)
        job = api.pipeline.store.put(make_job(JobStatus.SUCCEEDED, output=output))
        status, prediction, _ = api.get_prediction(job.id)
        assert (status, prediction["status"], prediction["output"]) == (200, "succeeded", None)
        assert prediction["proxy"]["omitted"] == ["logs", "input", "output"]

    def test_file_records_too_large_for_any_response_are_omitted(self) -> None:
        api = PredictionApi(max_page_bytes=20_000)
        records = [{"path": [0], "outcome": "not_stored", "url": "https://a.test/" + "u" * 30_000}]
        files = api.pipeline.documents.save("acme", "x", "files", records)
        job = api.pipeline.store.put(make_job(JobStatus.SUCCEEDED, files=files))
        status, prediction, _ = api.get_prediction(job.id)
        assert (status, prediction["status"], prediction["proxy"]["files"]) == (200, "succeeded", [])
        assert prediction["proxy"]["omitted"] == ["logs", "input", "output", "files"]


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ({"input": {"n": 1}}, {"input": {"n": 1.0}}, True),
        ({"input": {"n": [{"m": 1e2}]}}, {"input": {"n": [{"m": 100}]}}, True),
        ({"input": {"a": 1, "b": 2}}, {"input": {"b": 2, "a": 1}}, True),
        ({"version": VERSION}, {"version": f"acme/model:{VERSION}"}, True),
        (
            {"webhook_events_filter": ["start", "completed"]},
            {"webhook_events_filter": ["completed", "start"]},
            True,
        ),
        ({"input": {"n": 1}}, {"input": {"n": True}}, False),
        ({"input": {"n": 1}}, {"input": {"n": "1"}}, False),
        ({"input": {"n": 1}}, {"input": {"n": 1.5}}, False),
        ({"input": {"n": []}}, {"input": {"n": {}}}, False),
        ({"version": VERSION}, {"version": "0" * 64}, False),
        ({"version": "acme/one"}, {"version": "acme/two"}, False),
    ],
)
def test_requests_that_mean_the_same_are_the_same_for_an_idempotency_key(
    api: PredictionApi, first: dict[str, Any], second: dict[str, Any], *, is_same: bool
) -> None:
    headers = {"Idempotency-Key": "k"}
    created = api.post(body={**CREATE_BODY, **first}, headers=headers)
    repeated = api.post(body={**CREATE_BODY, **second}, headers=headers)

    assert created[0] == 201
    if is_same:
        assert (repeated[0], repeated[1]["id"]) == (201, created[1]["id"])
    else:
        assert repeated[0] == 409


class TestList:
    @pytest.fixture
    def ids(self, api: PredictionApi) -> list[str]:
        ids = []
        for _ in range(230):
            api.pipeline.clock.advance(1)
            ids.append(api.pipeline.accept_job().job.id)
        return ids[::-1]

    def list_all_ids(self, api: PredictionApi, **query: str) -> list[str]:
        """Follow `next` to the last page."""
        ids: list[str] = []
        for _ in range(10):
            status, page, _ = api.get("/v1/predictions", query=query)
            assert status == 200
            ids += [prediction["id"] for prediction in page["results"]]
            if page["next"] is None:
                return ids
            assert page["next"].startswith(f"{API_URL}/v1/predictions?")
            query = dict(parse_qsl(urlsplit(page["next"]).query))
        raise AssertionError("the pages do not end")

    def test_pages_are_newest_first(self, api: PredictionApi, ids: list[str]) -> None:
        assert self.list_all_ids(api) == ids

    def get_page(self, api: PredictionApi, url: str) -> Any:
        status, page, _ = api.get("/v1/predictions", query=dict(parse_qsl(urlsplit(url).query)))
        assert status == 200
        return page

    def test_previous_leads_back_through_the_same_pages(self, api: PredictionApi, ids: list[str]) -> None:
        pages = [self.get_page(api, "?")]
        while pages[-1]["next"]:
            pages.append(self.get_page(api, pages[-1]["next"]))
        assert len(pages) == 3
        assert pages[0]["previous"] is None

        page = pages[-1]
        for earlier in reversed(pages[:-1]):
            page = self.get_page(api, page["previous"])
            assert page["results"] == earlier["results"]
            assert self.get_page(api, page["next"])["results"] == pages[pages.index(earlier) + 1]["results"]
        assert page["previous"] is None

    def test_previous_keeps_the_filters(self, api: PredictionApi, ids: list[str]) -> None:
        after, before = NOW + timedelta(seconds=11), NOW + timedelta(seconds=221)
        query = urlencode({"created_after": after.isoformat(), "created_before": before.isoformat()})
        first = self.get_page(api, f"?{query}")
        second = self.get_page(api, first["next"])
        third = self.get_page(api, second["next"])
        assert third["next"] is None
        back = self.get_page(api, third["previous"])
        assert back["results"] == second["results"]
        back = self.get_page(api, back["previous"])
        assert (back["results"], back["previous"]) == (first["results"], None)

    def test_previous_finds_predictions_that_were_created_meanwhile(
        self, api: PredictionApi, ids: list[str]
    ) -> None:
        second = self.get_page(api, self.get_page(api, "?")["next"])
        api.pipeline.clock.advance(1000)
        newest_id = api.pipeline.accept_job().job.id
        first = self.get_page(api, second["previous"])
        assert newest_id not in {prediction["id"] for prediction in first["results"]}
        newest = self.get_page(api, first["previous"])
        assert [prediction["id"] for prediction in newest["results"]] == [newest_id]
        assert newest["previous"] is None

    def test_previous_page_that_does_not_fit_ends_above_the_cursor(self) -> None:
        api = PredictionApi(max_page_bytes=5_000)
        created = [api.pipeline.accept_job().job.id for _ in range(9)]
        page = self.get_page(api, "?")
        while page["next"]:
            page = self.get_page(api, page["next"])
        listed = [prediction["id"] for prediction in page["results"]]
        while page["previous"]:
            page = self.get_page(api, page["previous"])
            listed = [*(prediction["id"] for prediction in page["results"]), *listed]
        assert listed == sorted(created, reverse=True)

    def test_time_filters_apply_to_all_pages(self, api: PredictionApi, ids: list[str]) -> None:
        after, before = NOW + timedelta(seconds=11), NOW + timedelta(seconds=221)
        listed = self.list_all_ids(api, created_after=after.isoformat(), created_before=before.isoformat())
        assert listed == ids[10:220]

    def test_crossed_time_filters_match_nothing(self, api: PredictionApi, ids: list[str]) -> None:
        filters = {"created_after": "2030-01-01T00:00:00Z", "created_before": "2020-01-01T00:00:00Z"}
        assert self.list_all_ids(api, **filters) == []

    def test_page_reads_few_documents_beyond_those_it_holds(self) -> None:
        api = PredictionApi(max_page_bytes=20_000)
        documents = api.pipeline.documents
        for _ in range(60):
            job = api.pipeline.accept_job().job
            logs = documents.save(job.tenant, job.id, "logs", "l" * 8_000)
            api.pipeline.store.put(replace(job, logs=logs))
        documents.read_count = 0
        assert len(api.get("/v1/predictions")[1]["results"]) == 2
        assert documents.read_count < 20

    def test_pages_of_large_outputs_stay_within_the_limit_of_lambda(self, api: PredictionApi) -> None:
        """Each quote of the body takes two bytes in the response of a function."""
        documents = api.pipeline.documents
        for _ in range(5):
            job = api.pipeline.accept_job().job
            output = documents.save(job.tenant, job.id, "output", ["to"] * 400_000)
            api.pipeline.store.put(replace(job, status=JobStatus.SUCCEEDED, output=output))

        response = api.reads.handle(make_event("GET", "/v1/predictions"))

        assert len(json.dumps(response, ensure_ascii=False).encode()) <= LAMBDA_LIMIT_BYTES
        assert len(self.list_all_ids(api)) == 5

    @pytest.mark.parametrize("margin", [0, 500, 1000, 1500, 100_000, 101_500])
    def test_full_page_leaves_room_for_its_links(self, api: PredictionApi, margin: int) -> None:
        job = api.pipeline.accept_job().job
        text = "l" * (MAX_RESPONSE_BYTES - margin)
        logs = api.pipeline.documents.save(job.tenant, job.id, "logs", text)
        api.pipeline.store.put(replace(job, logs=logs))
        status, page, _ = api.get("/v1/predictions")
        assert (status, [prediction["id"] for prediction in page["results"]]) == (200, [job.id])

    def test_prediction_that_is_being_deleted_does_not_hide_the_others(self, api: PredictionApi) -> None:
        body = {**CREATE_BODY, "input": {"prompt": "x" * 5000}}
        ids = sorted(api.post(body=body)[1]["id"] for _ in range(3))
        objects = api.pipeline.documents.objects
        del objects[next(key for key in objects if ids[1] in key)]
        page = api.get("/v1/predictions")[1]["results"]
        assert [prediction["id"] for prediction in page] == ids[::-1]
        assert page[1]["proxy"]["omitted"] == ["input"]
        assert api.get("/v1/predictions/{id}", params={"id": ids[1]})[0] == 404

    def test_page_holds_what_fits_into_one_response(self, ids: list[str]) -> None:
        api = PredictionApi(max_page_bytes=5_000)
        created = [api.pipeline.accept_job().job.id for _ in range(9)]
        page = api.get("/v1/predictions")[1]
        assert 1 <= len(page["results"]) < 9
        assert sorted(self.list_all_ids(api)) == sorted(created)

    @pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
    @pytest.mark.parametrize("name", ["created_after", "created_before"])
    def test_extreme_times_are_filters_like_others(self, api: PredictionApi, name: str, moment: str) -> None:
        assert api.get("/v1/predictions", query={name: moment})[0] == 200

    def test_empty_cursor_returns_the_first_page(self, api: PredictionApi) -> None:
        prediction = api.post()[1]

        page = api.get("/v1/predictions", query={"cursor": ""})[1]

        assert [listed["id"] for listed in page["results"]] == [prediction["id"]]

    @pytest.mark.parametrize(
        "query",
        [
            {"cursor": "x"},
            {"cursor": "ä"},
            {"cursor": encode_cursor(["0" * 26, "older"])},
            {"cursor": encode_cursor(["0" * 26, "newer", "x"])},
            {"cursor": encode_cursor(["x", "newer"])},
            {"created_after": "now"},
            {"created_before": "2026-01-01"},
            {"created_before": "9999-12-31T23:59:59-12:00"},
            {"created_after": "0001-01-01T00:00:00+12:00"},
            {"created_after": "99999-01-01T00:00:00Z"},
        ],
    )
    def test_invalid_parameter_is_a_400_that_names_it(
        self, api: PredictionApi, query: dict[str, str]
    ) -> None:
        status, problem, _ = api.get("/v1/predictions", query=query)
        assert status == 400
        assert problem["invalid_fields"][0]["field"] in query


class TestCancel:
    def cancel(self, api: PredictionApi, prediction_id: str, **fields: Any) -> tuple[int, Any, Any]:
        resource = "/v1/predictions/{id}/cancel"
        return api.post(resource, None, params={"id": prediction_id}, **fields)

    def test_returns_canceled_prediction(self, api: PredictionApi) -> None:
        prediction_id = api.post()[1]["id"]
        status, prediction, _ = self.cancel(api, prediction_id)
        assert (status, prediction["status"]) == (200, "canceled")
        assert self.cancel(api, prediction_id)[1] == prediction

    def test_is_answered_at_once_while_too_many_wait(self, api: PredictionApi) -> None:
        prediction_id = api.post()[1]["id"]
        api.pipeline.drain_messages()
        api.wait_limiter.has_place = False
        status, prediction, _ = self.cancel(api, prediction_id)
        assert (status, prediction["status"]) == (200, "starting")
        api.pipeline.drain_messages()
        assert api.get_prediction(prediction_id)[1]["status"] == "canceled"

    def test_other_tenants_prediction_is_not_found(self, api: PredictionApi) -> None:
        prediction_id = api.post()[1]["id"]
        assert self.cancel(api, prediction_id, tenant="other")[0] == 404
        assert self.cancel(api, "x" * 3000)[0] == 404
        assert api.pipeline.store.only_job().status is JobStatus.QUEUED


def test_health_requires_no_caller(api: PredictionApi) -> None:
    event = make_event("GET", "/health")
    del event["requestContext"]["authorizer"]
    assert api.reads.handle(event)["statusCode"] == 200
