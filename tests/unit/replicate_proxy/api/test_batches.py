"""Batches from API Gateway's event to its reply, over the whole pipeline in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from replicate_proxy.jobs.model import MAX_BATCH_JOBS
from tests.support.builders import VERSION, make_event
from tests.unit.replicate_proxy.api.predictions.test_predictions import ADDRESS, Api

ENTRY = {"version": VERSION, "input": {"prompt": "a cat"}}
HOOK = "https://app.test/hook"


@pytest.fixture
def api() -> Api:
    return Api()


def create(api: Api, *entries: Any, **more: Any) -> tuple[int, Any, Any]:
    headers = more.pop("headers", None)
    return api.post("/v1/batches", {"predictions": list(entries), **more}, headers=headers)


def show(api: Api, batch_id: str, **fields: Any) -> tuple[int, Any, Any]:
    return api.get("/v1/batches/{id}", params={"id": batch_id}, **fields)


def finish_all(api: Api) -> None:
    api.world.drain_messages()
    for prediction_id in list(api.world.replicate.predictions):
        api.world.replicate.finish(prediction_id)
        api.world.send_webhook(prediction_id)
    api.world.drain_messages()


def test_a_batch_is_accepted_as_a_whole_and_runs_entry_by_entry(api: Api) -> None:
    entries = (ENTRY, {"model": "acme/sdxl", "input": {}}, {"deployment": "acme/up", "input": {}})
    status, batch, headers = create(api, *entries)
    assert (status, batch["status"], batch["total"]) == (201, "processing", 3)
    assert batch["counts"] == {"starting": 3, "processing": 0, "succeeded": 0, "failed": 0, "canceled": 0}
    assert [one["model"] for one in batch["predictions"]] == ["", "acme/sdxl", "acme/up"]
    assert {one["proxy"]["batch_id"] for one in batch["predictions"]} == {batch["id"]}
    assert headers["location"] == batch["urls"]["get"] == f"{ADDRESS}/v1/batches/{batch['id']}"

    finish_all(api)
    _, done, _ = show(api, batch["id"])

    assert len(api.world.replicate.predictions) == 3
    assert (done["status"], done["counts"]["succeeded"]) == ("completed", 3)
    assert [one["id"] for one in done["predictions"]] == [one["id"] for one in batch["predictions"]]
    assert done["completed_at"] == max(one["completed_at"] for one in done["predictions"])


def test_its_predictions_are_predictions_like_any_other(api: Api) -> None:
    _, batch, _ = create(api, ENTRY, ENTRY)
    listed = {one["id"] for one in api.get("/v1/predictions")[1]["results"]}
    assert listed == {one["id"] for one in batch["predictions"]}
    assert api.show(batch["predictions"][0]["id"])[1]["proxy"]["batch_id"] == batch["id"]
    assert "batch_id" not in api.post()[1]["proxy"]


def test_the_batchs_webhook_is_for_entries_without_one(api: Api) -> None:
    own = {**ENTRY, "webhook": f"{HOOK}/own", "webhook_events_filter": ["start"]}
    older = {**ENTRY, "webhook_completed": f"{HOOK}/older"}
    _, batch, _ = create(api, ENTRY, own, older, webhook=HOOK, webhook_events_filter=["completed"])
    told = [(one["webhook"], one["webhook_events_filter"]) for one in batch["predictions"]]
    assert told == [
        (HOOK, ["completed"]),
        (f"{HOOK}/own", ["start"]),
        (f"{HOOK}/older", ["completed"]),
    ]


@pytest.mark.parametrize(
    ("entries", "more", "fields"),
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
def test_whatever_is_wrong_is_named_and_nothing_is_created(
    api: Api, entries: list[Any], more: dict[str, Any], fields: list[str]
) -> None:
    status, problem, _ = create(api, *entries, **more)
    assert status == 422
    assert sorted(one["field"] for one in problem["invalid_fields"]) == fields
    assert api.world.store.jobs == {}
    assert api.world.messages == []


def test_a_model_that_the_key_may_not_run_stops_all_of_it(api: Api) -> None:
    body = {"predictions": [ENTRY, {"model": "acme/dear", "input": {}}]}
    event = make_event("POST", "/v1/batches", body=body)
    event["requestContext"]["authorizer"]["models"] = VERSION
    response = api.writes.handle(event)
    status, problem = response["statusCode"], json.loads(response["body"])
    assert (status, problem["detail"]) == (403, "predictions.1: This API key may not run that model")
    assert api.world.store.jobs == {}


def test_an_idempotency_key_stands_for_the_whole_batch(api: Api) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = create(api, ENTRY, ENTRY, headers=headers)
    again = create(api, ENTRY, ENTRY, headers=headers)
    assert (first[0], again[0]) == (201, 201)
    assert again[1]["id"] == first[1]["id"]
    assert "idempotent-replayed" not in first[2]
    assert again[2]["idempotent-replayed"] == "true"
    assert len(api.world.store.jobs) == 2
    assert create(api, ENTRY, headers=headers)[0] == 409
    assert api.post(headers=headers)[0] == 409
    assert len(api.world.store.jobs) == 2


def test_cancel_ends_what_is_not_over(api: Api) -> None:
    _, batch, _ = create(api, ENTRY, ENTRY, ENTRY)
    first = batch["predictions"][0]["id"]
    api.world.drain_messages()
    done = next(iter(api.world.replicate.predictions))
    api.world.replicate.finish(done)
    api.world.send_webhook(done)
    api.world.drain_messages()

    status, asked, _ = api.post("/v1/batches/{id}/cancel", None, params={"id": batch["id"]})
    api.world.drain_messages()
    counts = show(api, batch["id"])[1]["counts"]

    assert (status, asked["total"]) == (200, 3)
    assert (counts["succeeded"], counts["canceled"]) == (1, 2)
    assert first in {one["id"] for one in asked["predictions"]}


@pytest.mark.parametrize("batch_id", ["0" * 26, "no-id"])
def test_one_that_is_not_there_and_one_of_another_tenant_are_the_same(api: Api, batch_id: str) -> None:
    _, batch, _ = create(api, ENTRY)
    missing = show(api, batch_id)
    foreign = show(api, batch["id"], tenant="mallory")
    assert missing[0] == foreign[0] == 404
    assert missing[1] == foreign[1]
    cancel = api.post("/v1/batches/{id}/cancel", None, params={"id": batch["id"]}, tenant="mallory")
    assert cancel[0] == 404
    assert all(job.cancel_requested_at is None for job in api.world.store.jobs.values())


def test_scopes_are_those_of_predictions(api: Api) -> None:
    _, batch, _ = create(api, ENTRY)
    assert api.post("/v1/batches", {"predictions": [ENTRY]}, scopes="predictions:read")[0] == 403
    assert show(api, batch["id"], scopes="predictions:write")[0] == 403


def test_what_does_not_fit_into_a_reply_is_told_in_short() -> None:
    api = Api(reply_bytes=3_000)
    _, batch, _ = create(api, *[{"version": VERSION, "input": {"prompt": "x" * 600}}] * 4)
    whole = [one for one in batch["predictions"] if "input" in one]
    short = batch["predictions"][len(whole) :]
    assert 0 < len(whole) < 4
    assert [one["proxy"] for one in short] == [{"omitted": ["input", "logs", "output"]}] * len(short)
    assert all(one["status"] == "starting" and one["urls"]["get"].endswith(one["id"]) for one in short)
