"""Metadata of predictions, from the header of a create to the responses that repeat it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.prediction_api import CREATE_BODY

if TYPE_CHECKING:
    from tests.support.prediction_api import PredictionApi

HEADERS = {"X-Metadata": "order=42,user=7"}
PAIRS = {"order": "42", "user": "7"}


def test_metadata_is_repeated_by_every_response(api: PredictionApi) -> None:
    status, created, _ = api.post(headers=HEADERS)

    assert status == 201
    (listed,) = api.get("/v1/predictions")[1]["results"]
    views = (created, listed, api.get_prediction(created["id"])[1])
    assert [view["proxy"]["metadata"] for view in views] == [PAIRS] * 3


def test_prediction_without_the_header_has_none(api: PredictionApi) -> None:
    assert "metadata" not in api.post()[1]["proxy"]


def test_metadata_of_a_batch_is_that_of_each_prediction(api: PredictionApi) -> None:
    body = {"predictions": [CREATE_BODY, CREATE_BODY]}

    _, batch, _ = api.post("/v1/batches", body, headers=HEADERS)

    assert [prediction["proxy"]["metadata"] for prediction in batch["predictions"]] == [PAIRS] * 2


@pytest.mark.parametrize(
    ("resource", "body"), [("/v1/predictions", CREATE_BODY), ("/v1/batches", {"predictions": [CREATE_BODY]})]
)
def test_invalid_metadata_is_refused_by_name(api: PredictionApi, resource: str, body: Any) -> None:
    status, problem, _ = api.post(resource, body, headers={"x-metadata": "order=42,secret"})

    assert status == 422
    (field,) = problem["invalid_fields"]
    assert (field["type"], field["field"]) == ("invalid_header", "X-Metadata")
    assert "pair 2 has no equals sign" in field["description"]
    assert "secret" not in str(problem)
    assert not api.pipeline.store.jobs


def test_metadata_is_part_of_what_an_idempotency_key_stands_for(api: PredictionApi) -> None:
    key = {"Idempotency-Key": "k"}
    _, first, _ = api.post(headers={**key, **HEADERS})

    status, same, headers = api.post(headers={**key, "X-Metadata": "user=7, order=42"})
    assert (status, same["id"], headers["idempotent-replayed"]) == (201, first["id"], "true")
    assert api.post(headers={**key, "X-Metadata": "order=43"})[0] == 409
    assert api.post(headers=key)[0] == 409
