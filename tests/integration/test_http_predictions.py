"""Predictions by plain HTTP."""

from collections.abc import Callable
from datetime import timedelta

from replicate_proxy.clock import format_timestamp, parse_timestamp
from tests.integration.api import ApiClient
from tests.integration.models import FLUX, LLAMA, SMALL_IMAGE_INPUT
from tools.simulator.client import SimulatorClient


def test_plain_post_and_get(api: ApiClient) -> None:
    given = {"model": LLAMA, "prompt": "a poem", "max_tokens": 5}
    created = api.call("POST", "/", {"input": given})
    job = created.json()
    done = api.wait_until_finished(job["id"])
    plain = api.call("GET", f"/?predictionId={job['id']}")

    assert created.status_code == 201
    assert (job["model"], job["input"]) == (LLAMA, {"prompt": "a poem", "max_tokens": 5})
    assert done["status"] == "succeeded"
    assert len(done["output"]) == 5
    assert plain.json() == done


def test_prefer_wait_gives_the_finished_prediction(api: ApiClient) -> None:
    answer = api.call(
        "POST", "/v1/models/local/lab/predictions", {"input": {"output": 42}}, headers={"prefer": "wait"}
    )

    assert (answer.status_code, answer.json()["status"], answer.json()["output"]) == (201, "succeeded", 42)
    assert answer.headers["preference-applied"] == "wait=60"
    assert answer.headers["location"] == answer.json()["urls"]["get"]


def test_wait_that_is_too_short_says_starting_and_the_job_goes_on(api: ApiClient) -> None:
    answer = api.call(
        "POST",
        "/v1/predictions",
        {"version": "local/lab", "input": {"output": 42, "latency": 4}},
        headers={"prefer": "wait=1"},
    )

    assert (answer.status_code, answer.json()["status"], answer.json()["output"]) == (202, "starting", None)
    assert api.wait_until_finished(answer.json()["id"])["output"] == 42


def test_deadline_cancels_what_is_not_over_by_then(api: ApiClient, simulator: SimulatorClient) -> None:
    created = api.create("local/lab", {"hold": True}, headers={"cancel-after": "6s"})

    ended = api.wait_until_finished(created["id"])
    [upstream] = simulator.call_control_api("GET", f"predictions?webhook={created['id']}")["results"]

    assert ended["status"] == upstream["status"] == "canceled"
    assert parse_timestamp(ended["deadline"]) - parse_timestamp(ended["created_at"]) == timedelta(seconds=6)
    assert parse_timestamp(ended["completed_at"]) >= parse_timestamp(ended["deadline"]) - timedelta(seconds=1)


def test_cancel_of_what_is_over_changes_nothing(api: ApiClient) -> None:
    done = api.run("local/lab", {"output": 1})

    answer = api.call("POST", f"/v1/predictions/{done['id']}/cancel")

    assert (answer.status_code, answer.json()) == (200, done)


def test_urls_are_absolute_and_work_as_given(api: ApiClient) -> None:
    urls = api.create("local/lab", {"output": 1})["urls"]

    assert urls["get"].startswith(api.url)
    assert api.call("GET", urls["get"].removeprefix(api.url)).status_code == 200
    assert urls["cancel"] == urls["get"] + "/cancel"


def test_list_filters_by_time_and_pages_keep_the_filter(crowd: tuple[ApiClient, list[str]]) -> None:
    api, newest_first = crowd
    boundary = api.get(newest_first[50])["created_at"]
    oldest = api.get(newest_first[-1])["created_at"]

    later = api.call("GET", f"/v1/predictions?created_after={boundary}").json()
    earlier = api.call("GET", f"/v1/predictions?created_before={boundary}").json()
    following = api.call("GET", earlier["next"].removeprefix(api.url)).json()
    between = f"/v1/predictions?created_after={oldest}&created_before={boundary}"

    assert [each["id"] for each in later["results"]] == newest_first[:51]
    assert [each["id"] for each in earlier["results"]] == newest_first[51:151]
    assert [each["id"] for each in following["results"]] == newest_first[151:]
    assert following["next"] is None
    assert "created_before" in earlier["next"]
    assert [each["id"] for each in api.call("GET", between).json()["results"]] == newest_first[51:151]


def test_nobody_sees_another_tenants_predictions(make_api: Callable[[], ApiClient]) -> None:
    mine, theirs = make_api(), make_api()
    job = mine.create("local/lab", {"output": "secret"})

    foreign = theirs.call("GET", f"/v1/predictions/{job['id']}")
    canceled = theirs.call("POST", f"/v1/predictions/{job['id']}/cancel")
    listed = theirs.call("GET", "/v1/predictions").json()["results"]
    unknown = theirs.call("GET", f"/v1/predictions/{'0' * 26}")

    assert foreign.status_code == canceled.status_code == unknown.status_code == 404
    assert foreign.json() == unknown.json()
    assert listed == []
    assert mine.wait_until_finished(job["id"])["output"] == "secret"


def test_timeline_names_every_hop_in_order(api: ApiClient) -> None:
    proxy = api.run(FLUX, SMALL_IMAGE_INPUT)["proxy"]

    hops = ("accepted", "claimed", "submitted", "reported", "harvesting", "finished")
    times = [parse_timestamp(proxy["timeline"][hop]) for hop in hops]
    assert [format_timestamp(time) for time in times] == [format_timestamp(time) for time in sorted(times)]
    assert proxy["report_channel"] in {"webhook", "poll"}
    assert proxy["attempt"] == 1
