"""The geometry of charts and waterfalls."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from replicate_proxy.console.charts import build_chart, build_waterfall
from replicate_proxy.jobs.model import JobStatus, TimelineStep
from replicate_proxy.webhooks.model import DeliveryStatus
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.webhook_builders import make_delivery


def test_bars_are_relative_to_the_highest_and_small_ones_stay_visible() -> None:
    chart = build_chart([("mon", 0, "0"), ("tue", 1, "1"), ("wed", 1000, "1,000")])
    assert [bar.height for bar in chart.bars] == [0, 2, 100]
    assert (chart.maximum, chart.first_label, chart.last_label, chart.is_empty) == (
        "1,000",
        "mon",
        "wed",
        False,
    )
    assert all(bar.x >= 0 and bar.x + bar.width <= 100 for bar in chart.bars)


def test_highest_value_is_shown_without_what_else_its_text_says() -> None:
    values = [("mon", 5, "5, 1 failed"), ("tue", 5, "5, 2 failed")]
    assert build_chart(values, lambda value: f"{value:g}").maximum == "5"


def test_chart_without_values_is_empty() -> None:
    assert build_chart([]).is_empty
    assert build_chart([("mon", 0, "0")]).is_empty


def test_hops_follow_the_timeline_and_skip_missing_steps() -> None:
    times = {
        TimelineStep.ACCEPTED: NOW,
        TimelineStep.CLAIMED: NOW + timedelta(seconds=1),
        TimelineStep.STARTED: NOW + timedelta(seconds=3),
        TimelineStep.FINISHED: NOW + timedelta(seconds=10),
    }
    hops = build_waterfall(make_job(JobStatus.SUCCEEDED, timeline=times), [], NOW + timedelta(hours=1))
    assert [(hop.label, hop.seconds) for hop in hops] == [
        ("in our queue", 1),
        ("create request", 2),
        ("running at Replicate", 7),
    ]
    assert not any(hop.is_running for hop in hops)


def list_hops(**fields: Any) -> list[tuple[str, float]]:
    times = {
        TimelineStep.ACCEPTED: NOW,
        TimelineStep.SUBMITTED: NOW + timedelta(seconds=1),
        TimelineStep.REPORTED: NOW + timedelta(seconds=9),
        TimelineStep.FINISHED: NOW + timedelta(seconds=10),
    }
    job = make_job(JobStatus.SUCCEEDED, timeline=times, **fields)
    return [(hop.label, hop.seconds) for hop in build_waterfall(job, [], NOW + timedelta(hours=1))][1:3]


def test_start_that_only_the_end_has_reported_separates_starting_from_running() -> None:
    assert list_hops(started_at=NOW + timedelta(seconds=3)) == [
        ("starting at Replicate", 2),
        ("running at Replicate", 6),
    ]
    # Replicate's clock may differ from ours.
    assert list_hops(started_at=NOW)[0] == ("starting at Replicate", 0)
    assert list_hops(started_at=NOW + timedelta(hours=1))[1] == ("running at Replicate", 0)


def test_time_at_replicate_without_a_known_start_is_not_called_starting() -> None:
    assert list_hops()[0] == ("starting and running at Replicate", 8)


def test_last_hop_of_unfinished_job_goes_on() -> None:
    (hop,) = build_waterfall(make_job(JobStatus.QUEUED), [], NOW + timedelta(seconds=5))
    assert (hop.label, hop.seconds, hop.is_running) == ("in our queue", 5, True)


def test_clocks_that_differ_give_no_negative_time() -> None:
    times = {TimelineStep.ACCEPTED: NOW, TimelineStep.STARTED: NOW - timedelta(seconds=3)}
    hops = build_waterfall(make_job(JobStatus.PROCESSING, timeline=times), [], NOW)
    assert len(hops) == 2
    assert all(hop.seconds >= 0 and 0 <= hop.x <= 100 and hop.x + hop.width <= 100.01 for hop in hops)


def test_deliveries_are_one_hop_for_each_event_and_do_not_stretch_the_drawing() -> None:
    times = {TimelineStep.ACCEPTED: NOW, TimelineStep.FINISHED: NOW + timedelta(seconds=10)}
    first = make_delivery(created_at=NOW + timedelta(seconds=9))
    second = replace(first, target="ep_2", status=DeliveryStatus.FAILED, finished_at=NOW + timedelta(days=3))
    hops = build_waterfall(
        make_job(JobStatus.SUCCEEDED, timeline=times), [first, second], NOW + timedelta(days=3)
    )
    assert len(hops) == 2
    assert hops[0].width > 50
    assert (hops[1].label.endswith("to 2 targets"), hops[1].kind) == (True, "failed")
    assert hops[1].x + hops[1].width <= 100.01
