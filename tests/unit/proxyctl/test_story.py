"""The story of a prediction on the terminal: events of the API and lines of the log, in time order."""

from __future__ import annotations

import json
from typing import Any

from rich.text import Text

from proxyctl.story import tell_story

JOB_ID = "01kgahp2x3m4n5p6q7r8s9t0va"
STORY = {
    "job": {"id": JOB_ID, "tenant": "acme", "status": "failed", "model": "acme/model"},
    "events": [
        {"at": "2026-01-31T09:30:00.000Z", "kind": "step", "name": "accepted", "details": {}},
        {
            "at": "2026-01-31T09:30:03.000Z",
            "kind": "step",
            "name": "finished",
            "details": {"status": "failed", "error": "[bold]no[/]", "reason": None},
        },
    ],
    "logs": {"log_groups": ["/aws/lambda/proxy-dispatch"], "since": "2026-01-31T09:30:00.000Z"},
}


class FakeLogs:
    """CloudWatch Logs with a line of the job and one of another."""

    class exceptions:  # noqa: N801 - the name of boto3
        class ResourceNotFoundException(Exception):  # noqa: N818 - the name of boto3
            pass

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def get_paginator(self, _: str) -> FakeLogs:
        return self

    def paginate(self, **request: Any) -> list[dict[str, Any]]:
        self.requests.append(request)
        return [{"events": [_make_event("job submitted", JOB_ID), _make_event("other", "j2")]}]


def _make_event(message: str, job_id: str) -> dict[str, Any]:
    record = {"message": message, "job_id": job_id, "timestamp": "2026-01-31 09:30:01,000+0000"}
    return {"logStreamName": "one", "timestamp": 1769851801000, "message": json.dumps(record)}


def test_events_and_log_lines_are_in_time_order() -> None:
    logs = FakeLogs()

    lines = [Text.from_markup(line).plain for line in tell_story(STORY, logs)]

    assert lines[0] == f"{JOB_ID} of acme: failed, acme/model"
    assert lines[1] == "2026-01-31 UTC"
    assert [line.split()[0] for line in lines[2:]] == ["09:30:00.000", "09:30:01.000", "09:30:03.000"]
    assert "job submitted" in lines[3]
    assert lines[4].endswith("step finished status=failed error=[bold]no[/]")
    assert logs.requests == [
        {
            "logGroupName": "/aws/lambda/proxy-dispatch",
            "startTime": 1769851800000,
            "filterPattern": f'"{JOB_ID}"',
        }
    ]


def test_story_without_logs_has_the_events_only() -> None:
    assert len(list(tell_story(STORY))) == 4


def test_each_day_of_a_story_begins_with_its_date() -> None:
    times = ("2026-01-31T09:30:03.000Z", "2026-02-01T00:00:00.000Z", "2026-02-03T09:30:03.000Z")
    events = [{"at": at, "kind": "attempt", "name": "completed", "details": {}} for at in times]

    lines = [Text.from_markup(line).plain for line in tell_story({**STORY, "events": events})]

    assert [line.split()[0] for line in lines[1:]] == [
        *("2026-01-31", "09:30:03.000"),
        *("2026-02-01", "00:00:00.000"),
        *("2026-02-03", "09:30:03.000"),
    ]
