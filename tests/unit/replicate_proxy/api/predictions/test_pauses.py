"""Creates of a tenant that is paused, and what becomes of its queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.pauses.pause import ALL_TENANTS, Pause, PauseMode
from tests.support.prediction_api import CREATE_BODY

if TYPE_CHECKING:
    from tests.support.prediction_api import PredictionApi

SINCE = "2026-01-31T09:00:00.000Z"


@pytest.mark.parametrize(
    ("resource", "body"), [("/v1/predictions", CREATE_BODY), ("/v1/batches", {"predictions": [CREATE_BODY]})]
)
def test_creates_are_refused(api: PredictionApi, resource: str, body: object) -> None:
    api.pipeline.pauses.put("acme", Pause(PauseMode.REFUSE, SINCE, "invoice overdue"))

    status, problem, headers = api.post(resource, body)

    assert (status, headers["retry-after"]) == (503, "60")
    assert "invoice overdue" in problem["detail"]
    assert not api.pipeline.messages


@pytest.mark.parametrize("mode", PauseMode)
def test_queue_waits_until_it_is_resumed(api: PredictionApi, mode: PauseMode) -> None:
    _, prediction, _ = api.post()
    api.pipeline.pauses.put(ALL_TENANTS, Pause(mode, SINCE))
    api.pipeline.clock.advance(6)

    for _ in range(8):
        api.pipeline.drain_messages()
        api.pipeline.clock.advance(30)
    assert api.pipeline.replicate.predictions == {}
    assert api.get_prediction(prediction["id"])[1]["status"] == "starting"

    api.pipeline.pauses.remove(ALL_TENANTS)
    api.pipeline.clock.advance(30)
    api.pipeline.drain_messages()

    assert len(api.pipeline.replicate.predictions) == 1
    assert api.pipeline.dead_letters == []


def test_other_tenants_go_on(api: PredictionApi) -> None:
    api.pipeline.pauses.put("globex", Pause(PauseMode.REFUSE, SINCE))

    assert api.post()[0] == 201
    api.pipeline.drain_messages()

    assert len(api.pipeline.replicate.predictions) == 1
