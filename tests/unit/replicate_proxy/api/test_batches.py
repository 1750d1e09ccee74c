"""The routes of batches, from API Gateway's event to the response, over the whole pipeline in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from replicate_proxy.jobs.model import MAX_BATCH_JOBS, Job
from tests.support.builders import TENANT, VERSION, make_event
from tests.support.prediction_api import API_URL, PredictionApi

ENTRY = {"version": VERSION, "input": {"prompt": "a cat"}}
WEBHOOK = "https://app.test/hook"


def create(api: PredictionApi, *entries: Any, **fields: Any) -> tuple[int, Any, Any]:
    headers = fields.pop("headers", None)
    return api.post("/v1/batches", {"predictions": list(entries), **fields}, headers=headers)


def get_batch(api: PredictionApi, batch_id: str, **fields: Any) -> tuple[int, Any, Any]:
    return api.get("/v1/batches/{id}", params={"id": batch_id}, **fields)


def finish_all(api: PredictionApi) -> None:
    api.pipeline.drain_messages()
    for prediction_id in list(api.pipeline.replicate.predictions):
        api.pipeline.replicate.finish(prediction_id)
        api.pipeline.send_webhook(prediction_id)
    api.pipeline.drain_messages()


def test_batch_is_created_with_all_entries_and_completes(api: PredictionApi) -> None:
    entries = (ENTRY, {"model": "acme/sdxl", "input": {}}, {"deployment": "acme/up", "input": {}})
    status, batch, headers = create(api, *entries)
    assert (status, batch["status"], batch["total"]) == (201, "processing", 3)
    assert batch["counts"] == {"starting": 3, "processing": 0, "succeeded": 0, "failed": 0, "canceled": 0}
    assert [prediction["model"] for prediction in batch["predictions"]] == [VERSION, "acme/sdxl", "acme/up"]
    assert {prediction["proxy"]["batch_id"] for prediction in batch["predictions"]} == {batch["id"]}
    assert headers["location"] == batch["urls"]["get"] == f"{API_URL}/v1/batches/{batch['id']}"

    finish_all(api)
    _, finished, _ = get_batch(api, batch["id"])

    assert len(api.pipeline.replicate.predictions) == 3
    assert (finished["status"], finished["counts"]["succeeded"]) == ("completed", 3)
    ids = [prediction["id"] for prediction in batch["predictions"]]
    assert [prediction["id"] for prediction in finished["predictions"]] == ids
    completion_times = [prediction["completed_at"] for prediction in finished["predictions"]]
    assert finished["completed_at"] == max(completion_times)


def test_batch_counts_by_its_size(api: PredictionApi) -> None:
    create(api, ENTRY, ENTRY, ENTRY)
    api.pipeline.batch_limiter.delay_seconds = 2.5
    status, problem, headers = create(api, ENTRY, ENTRY)
    assert (status, problem["retry_after"], headers["retry-after"]) == (429, 3, "3")
    assert api.pipeline.batch_limiter.calls == [(TENANT, 3), (TENANT, 2)]
    assert len(api.pipeline.store.jobs) == 3


def test_predictions_of_a_batch_are_ordinary_predictions(api: PredictionApi) -> None:
    _, batch, _ = create(api, ENTRY, ENTRY)
    listed = {prediction["id"] for prediction in api.get("/v1/predictions")[1]["results"]}
    assert listed == {prediction["id"] for prediction in batch["predictions"]}
    first_id = batch["predictions"][0]["id"]
    assert api.get_prediction(first_id)[1]["proxy"]["batch_id"] == batch["id"]
    assert "batch_id" not in api.post()[1]["proxy"]


def test_entry_keeps_its_own_filter_for_the_webhook_of_the_batch(api: PredictionApi) -> None:
    filtered = {**ENTRY, "webhook_events_filter": ["start"]}
    for batch_filter, expected in ((["completed"], ["completed"]), (None, None)):
        fields = {} if batch_filter is None else {"webhook_events_filter": batch_filter}
        _, batch, _ = create(api, filtered, ENTRY, webhook=WEBHOOK, **fields)
        own, other = batch["predictions"]
        assert own["webhook"] == other["webhook"] == WEBHOOK
        assert own["webhook_events_filter"] == ["start"]
        assert other.get("webhook_events_filter") == expected


def test_batch_webhook_applies_to_entries_without_webhook(api: PredictionApi) -> None:
    own = {**ENTRY, "webhook": f"{WEBHOOK}/own", "webhook_events_filter": ["start"]}
    older = {**ENTRY, "webhook_completed": f"{WEBHOOK}/older"}
    _, batch, _ = create(api, ENTRY, own, older, webhook=WEBHOOK, webhook_events_filter=["completed"])
    webhooks = [
        (prediction["webhook"], prediction["webhook_events_filter"]) for prediction in batch["predictions"]
    ]
    assert webhooks == [
        (WEBHOOK, ["completed"]),
        (f"{WEBHOOK}/own", ["start"]),
        (f"{WEBHOOK}/older", ["completed"]),
    ]


@pytest.mark.parametrize(
    ("entries", "fields", "invalid"),
    [
        ([], {}, ["predictions"]),
        ([ENTRY] * (MAX_BATCH_JOBS + 1), {}, ["predictions"]),
        ([ENTRY, {"version": VERSION}], {}, ["predictions.1.input"]),
        ([{"input": {}}], {}, ["predictions.0"]),
        ([{**ENTRY, "model": "a/b"}], {}, ["predictions.0"]),
        ([{"model": "ab", "input": {}}, {"version": "x", "input": 1}], {}, [
            "predictions.0.model", "predictions.1.input", "predictions.1.version",
        ]),
        ([{**ENTRY, "speed": 1}], {}, ["predictions.0"]),
        (
            [{**ENTRY, "webhook": "http://app.test"}, ENTRY, {**ENTRY, "webhook": "ftp://app.test"}],
            {},
            ["predictions.0.webhook", "predictions.2.webhook"],
        ),
        ([ENTRY], {"webhook": "http://app.test"}, ["webhook"]),
        ([ENTRY], {"priority": 1}, [""]),
        ([ENTRY], {"headers": {"Idempotency-Key": "ä"}}, ["Idempotency-Key"]),
        ([ENTRY, ENTRY], {"headers": {"Cancel-After": "soon"}}, ["Cancel-After"]),
    ],
)  # fmt: skip
def test_invalid_batch_names_every_field_and_creates_nothing(
    api: PredictionApi, entries: list[Any], fields: dict[str, Any], invalid: list[str]
) -> None:
    status, problem, _ = create(api, *entries, **fields)
    assert status == 422
    assert sorted(field["field"] for field in problem["invalid_fields"]) == invalid
    assert api.pipeline.store.jobs == {}
    assert api.pipeline.messages == []


def test_model_that_the_key_may_not_run_rejects_the_whole_batch(api: PredictionApi) -> None:
    body = {"predictions": [ENTRY, {"model": "acme/dear", "input": {}}]}
    event = make_event("POST", "/v1/batches", body=body)
    event["requestContext"]["authorizer"]["models"] = VERSION
    response = api.writes.handle(event)
    status, problem = response["statusCode"], json.loads(response["body"])
    assert (status, problem["detail"]) == (403, "predictions.1: This API key may not run that model")
    assert api.pipeline.store.jobs == {}


def test_idempotency_key_replays_the_whole_batch(api: PredictionApi) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = create(api, ENTRY, ENTRY, headers=headers)
    second = create(api, ENTRY, ENTRY, headers=headers)
    assert (first[0], second[0]) == (201, 201)
    assert second[1]["id"] == first[1]["id"]
    assert "idempotent-replayed" not in first[2]
    assert second[2]["idempotent-replayed"] == "true"
    assert len(api.pipeline.store.jobs) == 2
    assert create(api, ENTRY, headers=headers)[0] == 409
    assert api.post(headers=headers)[0] == 409
    assert len(api.pipeline.store.jobs) == 2


def test_cancel_goes_on_beside_a_prediction_that_is_deleted_meanwhile(
    api: PredictionApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, batch, _ = create(api, ENTRY, ENTRY, ENTRY)
    store, deleted_id = api.pipeline.store, batch["predictions"][1]["id"]
    save = store.save

    def save_and_delete(job: Job) -> Job:
        store.remove(TENANT, deleted_id)
        return save(job)

    monkeypatch.setattr(store, "save", save_and_delete)

    status, canceled, _ = api.post("/v1/batches/{id}/cancel", None, params={"id": batch["id"]})

    assert (status, canceled["total"]) == (200, 3)
    assert len(store.jobs) == 2
    assert all(job.cancel_requested_at is not None for job in store.jobs.values())


def test_cancel_cancels_predictions_that_are_not_final(api: PredictionApi) -> None:
    _, batch, _ = create(api, ENTRY, ENTRY, ENTRY)
    first_id = batch["predictions"][0]["id"]
    api.pipeline.drain_messages()
    finished_id = next(iter(api.pipeline.replicate.predictions))
    api.pipeline.replicate.finish(finished_id)
    api.pipeline.send_webhook(finished_id)
    api.pipeline.drain_messages()

    status, canceled, _ = api.post("/v1/batches/{id}/cancel", None, params={"id": batch["id"]})
    api.pipeline.drain_messages()
    counts = get_batch(api, batch["id"])[1]["counts"]

    assert (status, canceled["total"]) == (200, 3)
    assert (counts["succeeded"], counts["canceled"]) == (1, 2)
    assert first_id in {prediction["id"] for prediction in canceled["predictions"]}


@pytest.mark.parametrize("batch_id", ["0" * 26, "no-id"])
def test_unknown_batch_and_other_tenants_batch_are_not_found_alike(api: PredictionApi, batch_id: str) -> None:
    _, batch, _ = create(api, ENTRY)
    unknown = get_batch(api, batch_id)
    foreign = get_batch(api, batch["id"], tenant="mallory")
    assert unknown[0] == foreign[0] == 404
    assert unknown[1] == foreign[1]
    cancel = api.post("/v1/batches/{id}/cancel", None, params={"id": batch["id"]}, tenant="mallory")
    assert cancel[0] == 404
    assert all(job.cancel_requested_at is None for job in api.pipeline.store.jobs.values())


def test_batch_routes_require_the_scopes_of_predictions(api: PredictionApi) -> None:
    _, batch, _ = create(api, ENTRY)
    assert api.post("/v1/batches", {"predictions": [ENTRY]}, scopes="predictions:read")[0] == 403
    assert get_batch(api, batch["id"], scopes="predictions:write")[0] == 403


def test_created_batch_is_shown_although_an_input_cannot_be_read(api: PredictionApi) -> None:
    """With an error its caller would create all of it again."""
    api.pipeline.documents.faults.fail("read")
    status, batch, _ = create(api, *[{"version": VERSION, "input": {"prompt": "x" * 5000}}] * 2)
    assert status == 201
    assert {prediction["id"] for prediction in batch["predictions"]} == {
        job_id for _, job_id in api.pipeline.store.jobs
    }


def test_predictions_that_do_not_fit_into_the_response_are_shortened() -> None:
    api = PredictionApi(max_page_bytes=3_000)
    _, batch, _ = create(api, *[{"version": VERSION, "input": {"prompt": "x" * 600}}] * 4)
    full = [prediction for prediction in batch["predictions"] if "input" in prediction]
    short = batch["predictions"][len(full) :]
    assert 0 < len(full) < 4
    assert [prediction["proxy"] for prediction in short] == [{"omitted": ["input", "logs", "output"]}] * len(
        short
    )
    assert all(
        prediction["status"] == "starting" and prediction["urls"]["get"].endswith(prediction["id"])
        for prediction in short
    )
