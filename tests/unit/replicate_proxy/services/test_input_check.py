"""Validation of create requests: before anything is stored, with what the model's entry adds."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_proxy.errors import RetryableError
from replicate_proxy.input_schemas.schema import InputSchema
from replicate_proxy.model_entries.entry import FallbackTarget, ModelEntry
from replicate_proxy.services.input_check import InputChecker
from tests.support.builders import VERSION
from tests.support.prediction_api import PredictionApi
from tests.support.schemas import make_rules

OF_VERSION = f"versions/{VERSION}"
MODEL = "acme/painter"
OF_MODEL = f"models/{MODEL}"
MODEL_ROUTE = "/v1/models/{owner}/{name}/predictions"
PARAMS = {"owner": "acme", "name": "painter"}


@pytest.fixture
def api() -> PredictionApi:
    return PredictionApi()


def is_untouched(api: PredictionApi) -> bool:
    return not api.pipeline.store.read_table() and not api.pipeline.messages


def list_fields(problem: dict[str, Any]) -> list[str]:
    return [invalid["field"] for invalid in problem["invalid_fields"]]


def test_invalid_input_is_422_in_replicates_words_and_leaves_nothing(api: PredictionApi) -> None:
    api.pipeline.schemas.put(OF_VERSION)

    status, problem, headers = api.post(
        body={"version": VERSION, "input": {"width": 9000, "image": "cat.png"}},
        headers={"idempotency-key": "k"},
    )

    assert status == 422
    assert headers["content-type"] == "application/problem+json"
    assert problem == {
        "title": "Input validation failed",
        "detail": (
            "- input: prompt is required\n"
            "- input.width: Must be less than or equal to 1440\n"
            "- input.image: Does not match format 'uri'\n"
        ),
        "status": 422,
        "invalid_fields": [
            {"type": "required", "field": "input", "description": "prompt is required"},
            {
                "type": "number_lte",
                "field": "input.width",
                "description": "Must be less than or equal to 1440",
            },
            {"type": "format", "field": "input.image", "description": "Does not match format 'uri'"},
        ],
    }
    assert is_untouched(api)


@pytest.mark.parametrize(
    ("resource", "target", "body", "params"),
    [
        ("/v1/predictions", OF_VERSION, {"version": VERSION}, None),
        ("/v1/predictions", OF_VERSION, {"version": f"acme/painter:{VERSION}"}, None),
        ("/v1/predictions", OF_MODEL, {"version": MODEL}, None),
        (MODEL_ROUTE, OF_MODEL, {}, PARAMS),
        ("/v1/deployments/{owner}/{name}/predictions", f"deployments/{MODEL}", {}, PARAMS),
        ("/", OF_VERSION, {"version": VERSION}, None),
        ("/", OF_MODEL, {"input": {"model": MODEL}}, None),
    ],
)
def test_every_way_to_create_is_validated(
    api: PredictionApi, resource: str, target: str, body: dict[str, Any], params: Any
) -> None:
    api.pipeline.schemas.put(target)
    bad = {**body, "input": {**body.get("input", {}), "prompt": "a cat", "width": 1}}
    good = {**body, "input": {**body.get("input", {}), "prompt": "a cat", "width": 64}}

    status, problem, _ = api.post(resource, bad, params=params)
    assert (status, list_fields(problem)) == (422, ["input.width"])
    assert is_untouched(api)
    assert api.post(resource, good, params=params)[0] == 201


def test_input_of_an_unknown_schema_passes(api: PredictionApi) -> None:
    assert api.post(body={"version": VERSION, "input": {"width": 9000}})[0] == 201


def test_fields_of_a_batch_are_named_with_their_prediction(api: PredictionApi) -> None:
    api.pipeline.schemas.put(OF_VERSION)
    inputs = ({"prompt": "a"}, {"prompt": "b", "width": 1}, {"prompt": "c"}, {"width": 2})
    predictions = [{"version": VERSION, "input": model_input} for model_input in inputs]

    status, problem, _ = api.post("/v1/batches", {"predictions": predictions})

    assert status == 422
    fields = ["predictions.1.input.width", "predictions.3.input", "predictions.3.input.width"]
    assert list_fields(problem) == fields
    assert is_untouched(api)
    assert api.pipeline.batch_limiter.calls == []


def test_unknown_field_is_a_warning_that_stays(api: PredictionApi) -> None:
    api.pipeline.schemas.put(OF_VERSION)
    body = {"version": VERSION, "input": {"prompt": "a cat", "widths": 512, "zzz": 1}}

    status, created, _ = api.post(body=body)

    assert status == 201
    assert created["proxy"]["warnings"] == [
        "input.widths is not a field of this model, which ignores or refuses it; did you mean width?",
        "input.zzz is not a field of this model, which ignores or refuses it",
    ]
    _, read, _ = api.get("/v1/predictions/{id}", params={"id": created["id"]})
    assert read["proxy"]["warnings"] == created["proxy"]["warnings"]


def test_warnings_of_a_batch_are_in_its_predictions(api: PredictionApi) -> None:
    api.pipeline.schemas.put(OF_VERSION)
    inputs = ({"prompt": "a"}, {"prompt": "b", "seeed": 1})
    predictions = [{"version": VERSION, "input": model_input} for model_input in inputs]

    _, batch, _ = api.post("/v1/batches", {"predictions": predictions})

    assert ["warnings" in prediction["proxy"] for prediction in batch["predictions"]] == [False, True]


def test_warnings_are_few_and_short(api: PredictionApi) -> None:
    api.pipeline.schemas.put(OF_VERSION)
    unknown = {f"{number}{'x' * 1000}": 1 for number in range(50)}

    _, created, _ = api.post(body={"version": VERSION, "input": {"prompt": "a", **unknown}})

    warnings = created["proxy"]["warnings"]
    assert len(warnings) == 20
    assert max(map(len, warnings)) < 200


def test_job_that_was_accepted_before_is_found_by_its_key(api: PredictionApi) -> None:
    body, headers = {"version": VERSION, "input": {"width": 1}}, {"idempotency-key": "k"}
    _, created, _ = api.post(body=body, headers=headers)
    api.pipeline.schemas.put(OF_VERSION)

    status, replayed, response_headers = api.post(body=body, headers=headers)

    assert (status, replayed["id"]) == (201, created["id"])
    assert response_headers["idempotent-replayed"] == "true"
    other = {"version": VERSION, "input": {"width": 2}}
    assert api.post(body=other, headers=headers)[0] == 422


def test_batch_that_was_accepted_before_is_found_by_its_key(api: PredictionApi) -> None:
    body = {"predictions": [{"version": VERSION, "input": {"width": 1}}]}
    headers = {"idempotency-key": "k"}
    _, created, _ = api.post("/v1/batches", body, headers=headers)
    api.pipeline.schemas.put(OF_VERSION)

    status, replayed, _ = api.post("/v1/batches", body, headers=headers)

    assert (status, replayed["id"]) == (201, created["id"])
    assert api.post("/v1/batches", body)[0] == 422


def test_key_of_a_refused_request_is_free_for_the_corrected_one(api: PredictionApi) -> None:
    api.pipeline.schemas.put(OF_VERSION)
    headers = {"idempotency-key": "k"}
    assert api.post(body={"version": VERSION, "input": {}}, headers=headers)[0] == 422

    assert api.post(body={"version": VERSION, "input": {"prompt": "a"}}, headers=headers)[0] == 201


def put_entry(api: PredictionApi, **fields: Any) -> None:
    entry = ModelEntry(name="team/alias", target=MODEL, **fields)
    api.entries.entries[entry.name] = entry
    api.pipeline.schemas.put(OF_MODEL)


def run_alias(api: PredictionApi, **model_input: Any) -> tuple[int, Any]:
    status, body, _ = api.post(body={"version": "team/alias", "input": model_input})
    return status, body


def test_input_is_checked_with_what_the_entry_sets(api: PredictionApi) -> None:
    put_entry(api, defaults={"prompt": "a cat", "width": 9000}, forced={"image": "cat.png"})

    status, problem = run_alias(api)

    assert status == 422
    note = " (set by the entry of the model team/alias)"
    assert [invalid["description"] for invalid in problem["invalid_fields"]] == [
        f"Must be less than or equal to 1440{note}",
        f"Does not match format 'uri'{note}",
    ]
    _, own = run_alias(api, width=1)
    assert own["invalid_fields"][0]["description"] == "Must be greater than or equal to 64"


def test_default_of_the_entry_makes_an_input_complete(api: PredictionApi) -> None:
    put_entry(api, defaults={"prompt": "a cat"}, forced={"sharpness": 3})

    status, created = run_alias(api)

    assert status == 201
    [warning] = created["proxy"]["warnings"]
    assert warning.startswith("input.sharpness is not a field of this model")
    assert warning.endswith(" (set by the entry of the model team/alias)")


def test_entry_can_switch_validation_off(api: PredictionApi) -> None:
    put_entry(api, validate_input=False)

    assert run_alias(api, width=1)[0] == 201


def test_fallbacks_are_not_considered(api: PredictionApi) -> None:
    put_entry(api, fallbacks=(FallbackTarget(target="acme/other"),))
    api.pipeline.schemas.put("models/acme/other", make_rules({"text": {}}, required=["text"]))

    assert run_alias(api, prompt="a cat")[0] == 201


def test_errors_of_an_entry_are_those_of_what_it_sets() -> None:
    class Schemas:
        def find(self, target: str) -> InputSchema | None:
            rules = make_rules({"width": {"type": "integer"}, "prompt": {}}, required=["prompt"])
            return InputSchema(rules) if target == OF_MODEL else None

    checker = InputChecker(Schemas())
    entry = ModelEntry(name=MODEL, defaults={"width": "wide"}, forced={"width": []})

    assert [error.field for error in checker.find_entry_errors(entry)] == ["defaults.width", "forced.width"]
    assert checker.find_entry_errors(ModelEntry(name="acme/other", defaults={"width": "wide"})) == []
    unchecked = ModelEntry(name=MODEL, defaults={"width": "wide"}, validate_input=False)
    assert checker.find_entry_errors(unchecked) == []


def test_earlier_job_is_unknown_while_its_key_cannot_be_read(api: PredictionApi) -> None:
    api.pipeline.schemas.put(OF_VERSION)

    def fail(*_arguments: Any, **_options: Any) -> None:
        raise RetryableError("the table is unavailable")

    api.pipeline.idempotency.find = fail  # type: ignore[method-assign] # this test only
    body = {"version": VERSION, "input": {}}

    assert api.post(body=body, headers={"idempotency-key": "k"})[0] == 503
    assert api.post(body=body)[0] == 422
