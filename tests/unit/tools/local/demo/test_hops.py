from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tools.local.demo.display import _build_hop_rows
from tools.local.demo.evidence import StoredFile, build_file_names, get_object_key, iterate_urls
from tools.local.demo.hops import Hop, verify_hops

TEXT_TIME = "2026-11-23T12:00:00.123Z"
TIME = datetime(2026, 11, 23, 12, tzinfo=UTC)
TIMELINE = dict.fromkeys(
    ("accepted", "claimed", "submitted", "started", "reported", "harvesting", "finished"), TEXT_TIME
)
REPLICATE_TIMES = dict.fromkeys(("created_at", "started_at", "completed_at"), TEXT_TIME)


@pytest.fixture
def saved_file(tmp_path: Path) -> Path:
    """A file of five bytes."""
    path = tmp_path / "out.webp"
    path.write_bytes(b"12345")
    return path


def _build_prediction(report_channel: str) -> dict[str, Any]:
    return {
        "status": "succeeded",
        "proxy": {"replicate_id": "r1", "report_channel": report_channel, "timeline": TIMELINE},
    }


def _build_file(saved_as: Path, *, served_bytes: int = 5) -> StoredFile:
    return StoredFile(
        url="http://h/outputs/k",
        bucket="bucket",
        key="outputs/k",
        source_bytes=50,
        stored_bytes=5,
        served_bytes=served_bytes,
        saved_as=saved_as,
    )


def _verify_hops(saved_file: Path, **changes: Any) -> list[Hop]:
    """Verify the hops of a complete run with some of the evidence changed."""
    evidence: dict[str, Any] = {
        "prediction": _build_prediction("webhook"),
        "replicate_prediction": {"id": "r1", **REPLICATE_TIMES},
        "webhook_accepted": True,
        "files": [_build_file(saved_file)],
        "notified_at": TIME,
    }
    return verify_hops(**evidence | changes)


def _list_missing(hops: list[Hop]) -> list[str]:
    return [hop.name for hop in hops if not hop.happened]


def test_all_hops_happened_when_all_evidence_agrees(saved_file: Path) -> None:
    assert _list_missing(_verify_hops(saved_file)) == []


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"notified_at": None}, ["application notified"]),
        ({"webhook_accepted": False}, ["completion reported"]),
        (
            {"replicate_prediction": {"id": "another", **REPLICATE_TIMES}},
            ["created on Replicate", "started on Replicate", "completed on Replicate"],
        ),
        (
            {"replicate_prediction": {}},
            ["created on Replicate", "started on Replicate", "completed on Replicate"],
        ),
    ],
)
def test_hop_did_not_happen_when_its_evidence_is_missing(
    saved_file: Path, changes: dict[str, Any], missing: list[str]
) -> None:
    assert _list_missing(_verify_hops(saved_file, **changes)) == missing


def test_output_is_not_stored_when_sizes_in_s3_and_at_its_url_differ(tmp_path: Path) -> None:
    short = tmp_path / "short.webp"
    short.write_bytes(b"1234")

    hops = _verify_hops(tmp_path, files=[_build_file(short, served_bytes=4)])

    assert _list_missing(hops) == ["output in S3"]


def test_polled_job_needs_no_webhook(saved_file: Path) -> None:
    hops = _verify_hops(saved_file, prediction=_build_prediction("poll"), webhook_accepted=None)

    assert "the proxy's GET of the prediction at Replicate" in [hop.evidence for hop in hops]
    assert _list_missing(hops) == []


def test_job_without_time_of_its_start_is_complete(saved_file: Path) -> None:
    prediction = _build_prediction("webhook")
    prediction["proxy"]["timeline"] = {step: time for step, time in TIMELINE.items() if step != "started"}

    hops = _verify_hops(saved_file, prediction=prediction)

    assert _list_missing(hops) == []
    [started] = [hop for hop in hops if hop.name == "started on Replicate"]
    assert (started.at, started.at_elsewhere) == (None, datetime.fromisoformat(TEXT_TIME))


def test_hops_outside_of_the_timeline_show_the_times_of_replicate_and_s3(saved_file: Path) -> None:
    stored_at = TIME.replace(second=7)
    timeline = {step: time for step, time in TIMELINE.items() if step != "started"}
    prediction = _build_prediction("webhook") | {"id": "j1", "created_at": TEXT_TIME, "error": None}
    prediction["proxy"]["timeline"] = timeline
    hops = _verify_hops(
        saved_file,
        prediction=prediction,
        files=[replace(_build_file(saved_file), stored_at=stored_at)],
        replicate_prediction={
            "id": "r1",
            "started_at": "2026-11-23T12:00:03.5Z",
            "completed_at": "2026-11-23T12:00:06.25Z",
        },
    )

    rows = {name: (clock, since) for name, clock, _, since, _ in _build_hop_rows(prediction, hops)}

    assert rows["started on Replicate"] == ("12:00:03.500", "")
    assert rows["completed on Replicate"] == ("12:00:06.250", "")
    assert rows["output in S3"] == ("12:00:07", "")
    # The next hop of the timeline follows the last one that is of its clock.
    assert rows["completion reported"] == ("12:00:00.123", "  +0.000 s")


def test_times_are_the_timelines_own_whatever_other_clocks_say(saved_file: Path) -> None:
    replicate_times = dict.fromkeys(REPLICATE_TIMES, "2020-01-01T00:00:00.000Z")

    hops = _verify_hops(saved_file, replicate_prediction={"id": "r1", **replicate_times})

    assert _list_missing(hops) == []
    assert {hop.at for hop in hops if hop.at} == {datetime.fromisoformat(TEXT_TIME), TIME}


def test_each_hop_is_shown_once(saved_file: Path) -> None:
    names = [hop.name for hop in _verify_hops(saved_file)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("title", "urls", "names"),
    [
        ("A red bicycle, oil on canvas!", ["http://h/x/1a2b3c.webp"], ["a-red-bicycle-oil-on-canvas.webp"]),
        ("cat", ["http://h/a.webp", "http://h/b.png?x=1"], ["cat-1.webp", "cat-2.png"]),
        ("猫", ["http://h/a"], ["output"]),
        ("word " * 40, ["http://h/a.svg"], [f"{'word-' * 11}word.svg"]),
    ],
)
def test_files_are_named_after_the_prompt(title: str, urls: list[str], names: list[str]) -> None:
    assert build_file_names(title, urls) == names


def test_urls_are_found_in_order_in_any_shape_of_output() -> None:
    output = {
        "a": ["https://h/1.png", "text", {"b": "http://h/2.png"}],
        "c": 3,
        "d": None,
        "e": "https://h/3.png",
    }

    assert list(iterate_urls(output)) == ["https://h/1.png", "http://h/2.png", "https://h/3.png"]
    assert get_object_key("http://127.0.0.1:5000/outputs/t/1.webp?x=1") == "outputs/t/1.webp"
