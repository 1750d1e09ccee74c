"""Creating, reading, listing and cancelling predictions over HTTP."""

import re
from typing import Any

import pytest

from tools.simulator.client import SimulatorClient
from tools.simulator.ids import version_id

LAB = version_id("local/lab")


def create(api: Any, body: Any, path: str = "/v1/predictions", **headers: str) -> Any:
    return api.call("POST", path, json=body, headers=headers)


@pytest.mark.parametrize("version", ["local/lab", f"local/lab:{LAB}", LAB])
def test_every_form_of_version_runs_the_model(api: Any, version: str) -> None:
    answer = create(api, {"version": version, "input": {"output": "x"}}, Prefer="wait")
    assert (answer.status_code, answer.json()["status"], answer.json()["output"]) == (201, "succeeded", "x")


@pytest.mark.parametrize(
    "version",
    ["stability-ai/sdxl", "nobody/nothing", "0" * 64, f"local/lab:{'0' * 64}", f"local/grid:{LAB}", "lab"],
)
def test_an_unknown_version_or_an_unofficial_name_is_422(api: Any, version: str) -> None:
    answer = create(api, {"version": version, "input": {"prompt": "x"}})
    assert answer.status_code == 422
    assert answer.json()["title"] == "Invalid version or not permitted"


def test_a_new_prediction_has_the_recorded_shape(api: Any) -> None:
    prediction = api.lab(startup=5, webhook="https://example.com/hook?job=1")
    assert re.fullmatch(r"[a-z0-9]{26}", prediction["id"])
    assert prediction["status"] == "starting"
    assert (prediction["model"], prediction["version"]) == ("local/lab", "hidden")
    assert prediction["output"] is None
    assert prediction["error"] is None
    assert prediction["data_removed"] is False
    assert prediction["webhook"] == "https://example.com/hook?job=1"
    assert prediction["webhook_events_filter"] == ["completed", "output"]
    assert {"metrics", "started_at", "completed_at"}.isdisjoint(prediction)
    assert prediction["urls"]["get"] == f"{api.remote.url}/v1/predictions/{prediction['id']}"
    assert "webhook" not in api.get(prediction["id"])


def test_a_finished_prediction_has_metrics_and_times(api: Any) -> None:
    prediction = api.finished(output=[1], latency=0.05)
    assert prediction["metrics"]["predict_time"] > 0.04
    assert prediction["metrics"]["total_time"] >= prediction["metrics"]["predict_time"]
    assert prediction["created_at"][:19] <= prediction["started_at"][:19] <= prediction["completed_at"][:19]


def test_replies_carry_rate_limit_headers(api: Any) -> None:
    answer = create(api, {"version": "local/lab", "input": {}})
    assert (answer.headers["ratelimit-remaining"], answer.headers["ratelimit-reset"]) == ("599", "1")
    read = api.call("GET", f"/v1/predictions/{answer.json()['id']}")
    assert read.headers["ratelimit-remaining"] == "59999"
    assert api.call("GET", "/v1/models").headers["ratelimit-remaining"] == "2999"


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic r8_local", "r8_local"])
def test_a_wrong_token_is_the_recorded_401(api: Any, header: str) -> None:
    answer = api.call("GET", "/v1/predictions", headers={"Authorization": header})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "title": "Unauthenticated",
        "detail": "You did not pass a valid authentication token",
        "status": 401,
    }


def test_the_old_token_scheme_still_works(api: Any) -> None:
    header = {"Authorization": f"Token {api.remote.token}"}
    assert api.call("GET", "/v1/account", headers=header).status_code == 200


def test_an_unknown_body_field_is_the_recorded_422(api: Any) -> None:
    answer = create(api, {"version": "local/lab", "input": {}, "signal": {}})
    assert answer.status_code == 422
    assert answer.json() == {
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
        ({"version": "local/lab", "input": {"output": {"$file": "exe"}}}, ["format"]),
        ({"version": "local/lab", "input": {"output": {"$file": "png", "colour": 1}}}, ["format"]),
        ([], ["invalid_type"]),
    ],
)
def test_a_wrong_body_names_each_wrong_field(api: Any, body: Any, fields: list[str]) -> None:
    answer = create(api, body)
    assert answer.status_code == 422
    assert [reason["type"] for reason in answer.json()["invalid_fields"]] == fields


def test_a_body_that_is_no_json_is_400(api: Any) -> None:
    assert api.call("POST", "/v1/predictions", data=b"{").status_code == 400


def test_only_official_models_run_by_their_own_endpoint(api: Any) -> None:
    official = create(api, {"input": {}}, "/v1/models/local/lab/predictions")
    versioned = create(api, {"input": {"prompt": "x"}}, "/v1/models/stability-ai/sdxl/predictions")
    assert (official.status_code, versioned.status_code) == (201, 404)


def test_a_deployment_runs_its_model(api: Any) -> None:
    answer = create(api, {"input": {}}, "/v1/deployments/local/lab-deployment/predictions")
    assert answer.json()["deployment"] == "local/lab-deployment"
    assert answer.json()["model"] == "local/lab"
    assert create(api, {"input": {}}, "/v1/deployments/local/none/predictions").status_code == 404


def test_prefer_wait_that_runs_out_says_starting(api: Any) -> None:
    answer = create(api, {"version": "local/lab", "input": {"startup": 0, "latency": 9}}, Prefer="wait=1")
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"
    assert (answer.json()["status"], answer.json()["output"]) == ("starting", None)
    assert api.get(answer.json()["id"])["status"] == "processing"


def test_prefer_wait_returns_processing_with_output_while_it_settles(
    api: Any, remote: SimulatorClient
) -> None:
    remote.change_settings(settle=5)
    answer = create(api, {"version": "local/lab", "input": {"output": ["x"], "latency": 0}}, Prefer="wait")
    assert (answer.json()["status"], answer.json()["output"]) == ("processing", ["x"])
    assert "completed_at" not in answer.json()


@pytest.mark.parametrize("header", ["wait=0", "wait=61", "respond-async"])
def test_a_preference_not_understood_is_ignored(api: Any, header: str) -> None:
    answer = create(api, {"version": "local/lab", "input": {"startup": 9}}, Prefer=header)
    assert answer.status_code == 201
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize("value", ["4", "4s", "soon", "", "1d"])
def test_a_malformed_cancel_after_is_422(api: Any, value: str) -> None:
    answer = create(api, {"version": "local/lab", "input": {}}, **{"Cancel-After": value})
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"][0]["field"] == "Cancel-After"


def test_a_deadline_aborts_before_the_start_and_cancels_after_it(api: Any) -> None:
    waiting = api.lab(startup=60, headers={"Cancel-After": "5s"})
    running = api.lab(latency=60, headers={"Cancel-After": "5", "Prefer": "wait=10"})
    assert running["status"] == "canceled"
    timeline = api.remote.get_timeline(running["id"])
    assert 4.9 < timeline["completed_at"] - timeline["created_at"] < 7
    assert running["deadline"]
    ended = api.get(waiting["id"])
    assert ended["status"] == "aborted"
    assert "started_at" not in ended


def test_cancel_ends_at_once_and_for_good(api: Any) -> None:
    prediction = api.lab(latency=60)
    answer = api.call("POST", f"/v1/predictions/{prediction['id']}/cancel")
    canceled = answer.json()
    assert (answer.status_code, canceled["status"]) == (200, "canceled")
    assert (canceled["output"], canceled["logs"]) == (None, None)
    assert "total_time" in canceled["metrics"]
    assert api.get(prediction["id"])["status"] == "canceled"


def test_cancel_of_a_finished_prediction_changes_nothing(api: Any) -> None:
    prediction = api.finished(output="kept")
    again = api.call("POST", f"/v1/predictions/{prediction['id']}/cancel").json()
    assert (again["status"], again["output"]) == ("succeeded", "kept")


@pytest.mark.parametrize("path", ["/v1/predictions/none", "/v1/nothing", "/nothing"])
def test_what_does_not_exist_is_404(api: Any, path: str) -> None:
    answer = api.call("GET", path)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "The requested resource could not be found.", "status": 404}


def test_a_failed_prediction_keeps_its_error_text(api: Any) -> None:
    prediction = api.finished(status="failed", error="Director: unexpected error (E9828)", output="gone")
    assert prediction["status"] == "failed"
    assert prediction["error"] == "Director: unexpected error (E9828)"


def test_a_run_beyond_the_limit_fails(api: Any, remote: SimulatorClient) -> None:
    remote.change_settings(run_limit=0.05)
    prediction = api.finished(latency=60)
    assert (prediction["status"], prediction["error"]) == ("failed", "Prediction timed out")


def test_the_list_pages_newest_first_and_covers_everything_once(api: Any) -> None:
    made = [api.lab()["id"] for _ in range(205)]
    seen: list[str] = []
    sizes = []
    url = "/v1/predictions"
    while url:
        page = api.call("GET", url).json()
        seen += [prediction["id"] for prediction in page["results"]]
        sizes.append(len(page["results"]))
        url = (page["next"] or "").removeprefix(api.remote.url)
    assert seen == made[::-1]
    assert sizes == [100, 100, 5]
    first = api.call("GET", page["previous"].removeprefix(api.remote.url)).json()
    assert [prediction["id"] for prediction in first["results"]] == made[::-1][100:200]


def test_the_list_filters_by_creation_time(api: Any) -> None:
    old, middle, new = api.lab(), api.lab(), api.lab()
    timelines = [api.remote.get_timeline(prediction["id"]) for prediction in (old, middle, new)]
    assert timelines[0]["created_at"] < timelines[1]["created_at"] < timelines[2]["created_at"]

    def listed(**query: str) -> list[str]:
        page = api.call("GET", "/v1/predictions", params=query).json()
        return [prediction["id"] for prediction in page["results"]]

    assert listed(created_after=middle["created_at"]) == [new["id"], middle["id"]]
    assert old["id"] in listed(created_before=middle["created_at"])
    assert new["id"] not in listed(created_before=middle["created_at"])
    assert listed(source="web") == []


@pytest.mark.parametrize("query", ["created_after=yesterday", "cursor=x", "source=api"])
def test_a_wrong_list_query_is_400(api: Any, query: str) -> None:
    assert api.call("GET", f"/v1/predictions?{query}").status_code == 400
