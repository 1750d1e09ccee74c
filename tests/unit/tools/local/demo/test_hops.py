"""A demo that succeeds only when every witness agrees."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tools.local.demo.evidence import StoredFile, get_object_key, iterate_urls
from tools.local.demo.hops import Hop, verify_hops

AT = "2026-11-23T12:00:00.123Z"
MOMENT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def _witnessed(tmp_path: Path, **changes: Any) -> list[Hop]:
    saved = tmp_path / "out.webp"
    saved.write_bytes(b"12345")
    timeline = dict.fromkeys(("accepted", "claimed", "submitted", "reported", "harvesting", "finished"), AT)
    told: dict[str, Any] = {
        "record": {
            "status": "succeeded",
            "proxy": {"replicate_id": "r1", "report_channel": "webhook", "timeline": timeline},
        },
        "replicate_prediction": {"id": "r1", "created_at": AT, "started_at": AT, "completed_at": AT},
        "webhook_accepted": True,
        "files": [StoredFile("http://h/outputs/k", "bucket", "outputs/k", 50, 5, MOMENT, 5, saved)],
        "notified_at": MOMENT,
    }
    return verify_hops(**told | changes)


def _missing(hops: list[Hop]) -> list[str]:
    return [hop.name for hop in hops if not hop.happened]


def test_all_hops_happened(tmp_path: Path) -> None:
    assert _missing(_witnessed(tmp_path)) == []


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"notified_at": None}, ["application notified"]),
        ({"webhook_accepted": False}, ["webhook received"]),
        (
            {
                "replicate_prediction": {
                    "id": "another",
                    "created_at": AT,
                    "started_at": AT,
                    "completed_at": AT,
                }
            },
            ["created on Replicate"],
        ),
        (
            {"replicate_prediction": {}},
            ["created on Replicate", "started on Replicate", "completed on Replicate"],
        ),
    ],
)
def test_a_hop_that_its_witness_does_not_confirm_did_not_happen(
    tmp_path: Path, changes: dict[str, Any], missing: list[str]
) -> None:
    assert _missing(_witnessed(tmp_path, **changes)) == missing


def test_bytes_that_differ_between_s3_and_url_are_not_stored(tmp_path: Path) -> None:
    saved = tmp_path / "short.webp"
    saved.write_bytes(b"1234")
    short = StoredFile("http://h/outputs/k", "bucket", "outputs/k", 50, 5, MOMENT, 4, saved)

    assert _missing(_witnessed(tmp_path, files=[short])) == ["output in S3"]


def test_a_polled_job_needs_no_webhook(tmp_path: Path) -> None:
    timeline = dict.fromkeys(("accepted", "claimed", "submitted", "reported", "harvesting", "finished"), AT)
    record = {
        "status": "succeeded",
        "proxy": {"replicate_id": "r1", "report_channel": "poll", "timeline": timeline},
    }

    hops = _witnessed(tmp_path, record=record, webhook_accepted=None)

    assert "completion polled" in [hop.name for hop in hops]
    assert _missing(hops) == []


def test_references_are_found_in_any_shape_in_order() -> None:
    output = {
        "a": ["https://h/1.png", "text", {"b": "http://h/2.png"}],
        "c": 3,
        "d": None,
        "e": "https://h/3.png",
    }

    assert list(iterate_urls(output)) == ["https://h/1.png", "http://h/2.png", "https://h/3.png"]
    assert get_object_key("http://127.0.0.1:5000/outputs/t/1.webp?x=1") == "outputs/t/1.webp"
