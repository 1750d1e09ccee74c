"""Predictions by plain HTTP."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from replicate_proxy.clock import parse_timestamp
from tests.integration.api_client import ApiClient
from tests.integration.models import FLUX, LLAMA, SMALL_IMAGE_INPUT
from tools.simulator.client import SimulatorClient


def _get_ids(page: dict[str, Any]) -> list[str]:
    return [prediction["id"] for prediction in page["results"]]


def test_post_and_get_of_the_root_path(api: ApiClient) -> None:
    model_input = {"model": LLAMA, "prompt": "a poem", "max_tokens": 5}
    response = api.call("POST", "/", {"input": model_input})
    job = response.json()
    finished = api.wait_until_finished(job["id"])

    assert response.status_code == 201
    assert (job["model"], job["input"]) == (LLAMA, {"prompt": "a poem", "max_tokens": 5})
    assert finished["status"] == "succeeded"
    assert len(finished["output"]) == 5
    assert api.call("GET", f"/?predictionId={job['id']}").json() == finished


def test_prefer_wait_returns_the_finished_prediction(api: ApiClient) -> None:
    response = api.call(
        "POST", "/v1/models/local/lab/predictions", {"input": {"output": 42}}, headers={"prefer": "wait"}
    )

    prediction = response.json()
    assert (response.status_code, prediction["status"], prediction["output"]) == (201, "succeeded", 42)
    assert response.headers["preference-applied"] == "wait=60"
    assert response.headers["location"] == prediction["urls"]["get"]


def test_prefer_wait_returns_the_running_prediction_when_it_takes_longer(api: ApiClient) -> None:
    response = api.call(
        "POST",
        "/v1/predictions",
        {"version": "local/lab", "input": {"output": 42, "latency": 4}},
        headers={"prefer": "wait=1"},
    )

    prediction = response.json()
    assert (response.status_code, prediction["status"]) == (202, "starting")
    assert "output" not in prediction
    assert api.wait_until_finished(prediction["id"])["output"] == 42


def test_prediction_is_canceled_at_its_deadline(api: ApiClient, simulator: SimulatorClient) -> None:
    job = api.create("local/lab", {"hold": True}, headers={"cancel-after": "6s"})

    finished = api.wait_until_finished(job["id"])
    [replicate_prediction] = simulator.find_predictions(job["id"])

    assert finished["status"] == replicate_prediction["status"] == "canceled"
    created_at, deadline, completed_at = (
        parse_timestamp(finished[name]) for name in ("created_at", "deadline", "completed_at")
    )
    assert deadline - created_at == timedelta(seconds=6)
    assert completed_at >= deadline - timedelta(seconds=1)


def test_cancel_of_a_finished_prediction_changes_nothing(api: ApiClient) -> None:
    finished = api.run("local/lab", {"output": 1})

    response = api.call("POST", f"/v1/predictions/{finished['id']}/cancel")

    assert (response.status_code, response.json()) == (200, finished)


def test_urls_are_absolute_and_valid(api: ApiClient) -> None:
    urls = api.create("local/lab", {"output": 1})["urls"]

    assert urls["get"].startswith(api.url)
    assert api.call("GET", urls["get"].removeprefix(api.url)).status_code == 200
    assert urls["cancel"] == urls["get"] + "/cancel"


def test_list_is_filtered_by_time_on_every_page(stored_predictions: tuple[ApiClient, list[str]]) -> None:
    api, newest_first = stored_predictions
    boundary = api.get(newest_first[50])["created_at"]
    oldest = api.get(newest_first[-1])["created_at"]

    after = api.call("GET", f"/v1/predictions?created_after={boundary}").json()
    before = api.call("GET", f"/v1/predictions?created_before={boundary}").json()
    before_second_page = api.call("GET", before["next"].removeprefix(api.url)).json()
    between = api.call("GET", f"/v1/predictions?created_after={oldest}&created_before={boundary}").json()

    assert _get_ids(after) == newest_first[:51]
    assert _get_ids(before) == newest_first[51:151]
    assert _get_ids(before_second_page) == newest_first[151:]
    assert before_second_page["next"] is None
    assert "created_before" in before["next"]
    assert _get_ids(between) == newest_first[51:151]


def test_prediction_of_another_tenant_is_unknown(make_api: Callable[[], ApiClient]) -> None:
    owner, other = make_api(), make_api()
    job = owner.create("local/lab", {"output": "secret"})

    foreign = other.call("GET", f"/v1/predictions/{job['id']}")
    canceled = other.call("POST", f"/v1/predictions/{job['id']}/cancel")
    listed = other.call("GET", "/v1/predictions").json()["results"]
    unknown = other.call("GET", f"/v1/predictions/{'0' * 26}")

    assert foreign.status_code == canceled.status_code == unknown.status_code == 404
    assert foreign.json() == unknown.json()
    assert listed == []
    assert owner.wait_until_finished(job["id"])["output"] == "secret"


def test_timeline_has_every_step_in_order(api: ApiClient) -> None:
    proxy = api.run(FLUX, SMALL_IMAGE_INPUT)["proxy"]

    steps = ("accepted", "claimed", "submitted", "reported", "harvesting", "finished")
    times = [parse_timestamp(proxy["timeline"][step]) for step in steps]
    assert times == sorted(times)
    assert proxy["report_channel"] in {"webhook", "poll"}
    assert proxy["attempt"] == 1
