"""Creating, reading, listing and canceling predictions over HTTP."""

import re
from typing import Any

import pytest

from tools.simulator.client import SimulatorClient
from tools.simulator.models.model import compute_version_id

LAB = compute_version_id("local/lab")


def create(api: Any, body: Any, path: str = "/v1/predictions", **headers: str) -> Any:
    return api.call("POST", path, json=body, headers=headers)


@pytest.mark.parametrize("version", ["local/lab", f"local/lab:{LAB}", LAB])
def test_create_accepts_every_form_of_version(api: Any, version: str) -> None:
    response = create(api, {"version": version, "input": {"output": "x"}}, Prefer="wait")
    assert (response.status_code, response.json()["status"], response.json()["output"]) == (
        201,
        "succeeded",
        "x",
    )


@pytest.mark.parametrize(
    "version",
    ["stability-ai/sdxl", "unknown/unknown", "0" * 64, f"local/lab:{'0' * 64}", f"local/grid:{LAB}", "lab"],
)
def test_create_with_unknown_version_or_unofficial_name_is_422(api: Any, version: str) -> None:
    response = create(api, {"version": version, "input": {"prompt": "x"}})
    assert response.status_code == 422
    assert response.json()["title"] == "Invalid version or not permitted"


def test_new_prediction_has_recorded_shape(api: Any) -> None:
    prediction = api.create_lab(startup=5, webhook="https://example.com/hook?job=1")
    assert re.fullmatch(r"[a-z0-9]{26}", prediction["id"])
    assert prediction["status"] == "starting"
    assert (prediction["model"], prediction["version"]) == ("local/lab", "hidden")
    assert prediction["output"] is None
    assert prediction["error"] is None
    assert prediction["data_removed"] is False
    assert prediction["webhook"] == "https://example.com/hook?job=1"
    assert prediction["webhook_events_filter"] == ["completed", "output"]
    assert {"metrics", "started_at", "completed_at"}.isdisjoint(prediction)
    assert prediction["urls"]["get"] == f"{api.simulator.url}/v1/predictions/{prediction['id']}"
    assert "webhook" not in api.get_prediction(prediction["id"])


def test_completed_prediction_has_metrics_and_times(api: Any) -> None:
    prediction = api.run_lab(output=[1], latency=0.05)
    assert prediction["metrics"]["predict_time"] > 0.04
    assert prediction["metrics"]["total_time"] >= prediction["metrics"]["predict_time"]
    assert prediction["created_at"][:19] <= prediction["started_at"][:19] <= prediction["completed_at"][:19]


def test_responses_have_rate_limit_headers(api: Any) -> None:
    response = create(api, {"version": "local/lab", "input": {}})
    assert (response.headers["ratelimit-remaining"], response.headers["ratelimit-reset"]) == ("599", "1")
    read = api.call("GET", f"/v1/predictions/{response.json()['id']}")
    assert read.headers["ratelimit-remaining"] == "59999"
    assert api.call("GET", "/v1/models").headers["ratelimit-remaining"] == "2999"


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic r8_local", "r8_local"])
def test_wrong_token_is_recorded_401(api: Any, header: str) -> None:
    response = api.call("GET", "/v1/predictions", headers={"Authorization": header})
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "title": "Unauthenticated",
        "detail": "You did not pass a valid authentication token",
        "status": 401,
    }


def test_old_token_scheme_is_accepted(api: Any) -> None:
    header = {"Authorization": f"Token {api.simulator.token}"}
    assert api.call("GET", "/v1/account", headers=header).status_code == 200


def test_unknown_body_field_is_recorded_422(api: Any) -> None:
    response = create(api, {"version": "local/lab", "input": {}, "signal": {}})
    assert response.status_code == 422
    assert response.json() == {
        "title": "Input validation failed",
        "detail": "- Additional property signal is not allowed\n",
        "status": 422,
        "invalid_fields": [
            {
                "type": "additional_property_not_allowed",
                "field": "",
                "description": "Additional property signal is not allowed",
            }
        ],
    }


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"version": "local/lab"}, ["required"]),
        ({}, ["required", "required"]),
        ({"version": 3, "input": []}, ["invalid_type", "invalid_type"]),
        ({"version": "local/lab", "input": {}, "webhook": "http://example.com/"}, ["format"]),
        ({"version": "local/lab", "input": {}, "webhook": "http://[::bad"}, ["format"]),
        ({"version": "local/lab", "input": {}, "webhook_events_filter": ["done"]}, ["enum"]),
        ({"version": "black-forest-labs/flux-schnell", "input": {}}, ["required"]),
        ({"version": "black-forest-labs/flux-schnell", "input": {"prompt": 3}}, ["invalid_type"]),
        (
            {"version": "black-forest-labs/flux-schnell", "input": {"prompt": "x", "num_outputs": 9}},
            ["number_lte"],
        ),
        ({"version": "black-forest-labs/flux-schnell", "input": {"prompt": "x", "width": 1}}, ["number_gte"]),
        (
            {"version": "black-forest-labs/flux-schnell", "input": {"prompt": "x", "output_format": "bmp"}},
            ["enum"],
        ),
        ({"version": compute_version_id("openai/whisper"), "input": {"audio": "a.wav"}}, ["format"]),
        ({"version": "local/lab", "input": {"output": {"$file": "exe"}}}, ["format"]),
        ({"version": "local/lab", "input": {"output": {"$file": "png", "color": 1}}}, ["format"]),
        ([], ["invalid_type"]),
    ],
)
def test_invalid_body_is_422_naming_each_field(api: Any, body: Any, fields: list[str]) -> None:
    response = create(api, body)
    assert response.status_code == 422
    assert [reason["type"] for reason in response.json()["invalid_fields"]] == fields


def test_body_that_is_not_json_is_400(api: Any) -> None:
    assert api.call("POST", "/v1/predictions", data=b"{").status_code == 400


def test_model_endpoint_runs_official_models_only(api: Any) -> None:
    official = create(api, {"input": {}}, "/v1/models/local/lab/predictions")
    versioned = create(api, {"input": {"prompt": "x"}}, "/v1/models/stability-ai/sdxl/predictions")
    assert (official.status_code, versioned.status_code) == (201, 404)


def test_deployment_runs_its_model(api: Any) -> None:
    response = create(api, {"input": {}}, "/v1/deployments/local/lab-deployment/predictions")
    assert response.json()["deployment"] == "local/lab-deployment"
    assert response.json()["model"] == "local/lab"
    assert create(api, {"input": {}}, "/v1/deployments/local/none/predictions").status_code == 404


def test_prefer_wait_that_expires_returns_starting(api: Any) -> None:
    response = create(api, {"version": "local/lab", "input": {"startup": 0, "latency": 9}}, Prefer="wait=1")
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "wait=1"
    assert (response.json()["status"], response.json()["output"]) == ("starting", None)
    assert api.get_prediction(response.json()["id"])["status"] == "processing"


def test_prefer_wait_returns_processing_with_output_during_completion_delay(
    api: Any, simulator: SimulatorClient
) -> None:
    simulator.change_settings(completion_delay=5)
    response = create(api, {"version": "local/lab", "input": {"output": ["x"], "latency": 0}}, Prefer="wait")
    assert (response.json()["status"], response.json()["output"]) == ("processing", ["x"])
    assert "completed_at" not in response.json()


@pytest.mark.parametrize("header", ["wait=0", "wait=61", "respond-async"])
def test_unsupported_preference_is_ignored(api: Any, header: str) -> None:
    response = create(api, {"version": "local/lab", "input": {"startup": 9}}, Prefer=header)
    assert response.status_code == 201
    assert "preference-applied" not in response.headers


@pytest.mark.parametrize("value", ["4", "4s", "soon", "", "1d"])
def test_malformed_cancel_after_is_422(api: Any, value: str) -> None:
    response = create(api, {"version": "local/lab", "input": {}}, **{"Cancel-After": value})
    assert response.status_code == 422
    assert response.json()["invalid_fields"][0]["field"] == "Cancel-After"


def test_deadline_aborts_before_start_and_cancels_after_it(api: Any) -> None:
    waiting = api.create_lab(startup=60, headers={"Cancel-After": "5s"})
    running = api.create_lab(latency=60, headers={"Cancel-After": "5", "Prefer": "wait=10"})
    assert running["status"] == "canceled"
    timeline = api.simulator.get_timeline(running["id"])
    assert 4.9 < timeline["completed_at"] - timeline["created_at"] < 7
    assert running["deadline"]
    ended = api.get_prediction(waiting["id"])
    assert ended["status"] == "aborted"
    assert "started_at" not in ended


def test_cancel_is_immediate_and_final(api: Any) -> None:
    prediction = api.create_lab(latency=60)
    response = api.call("POST", f"/v1/predictions/{prediction['id']}/cancel")
    canceled = response.json()
    assert (response.status_code, canceled["status"]) == (200, "canceled")
    assert (canceled["output"], canceled["logs"]) == (None, None)
    assert "total_time" in canceled["metrics"]
    assert api.get_prediction(prediction["id"])["status"] == "canceled"


def test_cancel_of_completed_prediction_changes_nothing(api: Any) -> None:
    prediction = api.run_lab(output="unchanged")
    again = api.call("POST", f"/v1/predictions/{prediction['id']}/cancel").json()
    assert (again["status"], again["output"]) == ("succeeded", "unchanged")


@pytest.mark.parametrize("path", ["/v1/predictions/none", "/v1/nothing", "/nothing"])
def test_unknown_resource_is_404(api: Any, path: str) -> None:
    response = api.call("GET", path)
    assert response.status_code == 404
    assert response.json() == {"detail": "The requested resource could not be found.", "status": 404}


def test_failed_prediction_shows_error_text(api: Any) -> None:
    prediction = api.run_lab(status="failed", error="Director: unexpected error (E9828)", output="discarded")
    assert prediction["status"] == "failed"
    assert prediction["error"] == "Director: unexpected error (E9828)"


def test_run_beyond_limit_fails(api: Any, simulator: SimulatorClient) -> None:
    simulator.change_settings(run_limit=0.05)
    prediction = api.run_lab(latency=60)
    assert (prediction["status"], prediction["error"]) == ("failed", "Prediction timed out")


def test_list_pages_cover_all_predictions_once_newest_first(api: Any) -> None:
    created_ids = [api.create_lab()["id"] for _ in range(205)]
    seen: list[str] = []
    sizes = []
    url = "/v1/predictions"
    while url:
        page = api.call("GET", url).json()
        seen += [prediction["id"] for prediction in page["results"]]
        sizes.append(len(page["results"]))
        url = (page["next"] or "").removeprefix(api.simulator.url)
    assert seen == created_ids[::-1]
    assert sizes == [100, 100, 5]
    first = api.call("GET", page["previous"].removeprefix(api.simulator.url)).json()
    assert [prediction["id"] for prediction in first["results"]] == created_ids[::-1][100:200]


def test_list_filters_by_creation_time(api: Any) -> None:
    old, middle, new = api.create_lab(), api.create_lab(), api.create_lab()
    timelines = [api.simulator.get_timeline(prediction["id"]) for prediction in (old, middle, new)]
    assert timelines[0]["created_at"] < timelines[1]["created_at"] < timelines[2]["created_at"]

    def listed(**query: str) -> list[str]:
        page = api.call("GET", "/v1/predictions", params=query).json()
        return [prediction["id"] for prediction in page["results"]]

    assert listed(created_after=middle["created_at"]) == [new["id"], middle["id"]]
    assert old["id"] in listed(created_before=middle["created_at"])
    assert new["id"] not in listed(created_before=middle["created_at"])
    assert listed(source="web") == []


@pytest.mark.parametrize("query", ["created_after=yesterday", "cursor=x", "source=api"])
def test_invalid_list_query_is_400(api: Any, query: str) -> None:
    assert api.call("GET", f"/v1/predictions?{query}").status_code == 400
