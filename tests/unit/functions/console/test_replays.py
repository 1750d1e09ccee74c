"""The console's pages of replays."""

from __future__ import annotations

import boto3
import pytest

from tests.support.console import Browser
from tests.support.handlers import clear_caches


def test_replays_need_an_archive(operator: Browser) -> None:
    assert "The event archive is off" in operator.get("/replays").text
    form = {"from": "2026-01-01T00:00", "to": "2026-01-02T00:00"}
    assert operator.post("/replays", form).status == 409


def test_replay_is_started_and_stopped(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    events = boto3.client("events")
    bus = events.describe_event_bus(Name="default")["Arn"]
    variables = {
        "EVENT_BUS": "default",
        "EVENT_ARCHIVE_ARN": events.create_archive(ArchiveName="a", EventSourceArn=bus)["ArchiveArn"],
        "HARVEST_RULE_ARN": events.put_rule(Name="h", EventPattern='{"source": ["x"]}')["RuleArn"],
        "TRACK_RULE_ARN": events.put_rule(Name="t", EventPattern='{"source": ["x"]}')["RuleArn"],
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    clear_caches()
    form = {"from": "2026-01-01T00:00", "to": "2026-01-02T00:00", "rules": ["harvest"]}
    assert operator.post("/replays", form).location == "/replays?notice=replay_started"
    assert "completed" in operator.get("/replays").text
    assert operator.post("/replays", {**form, "to": "2025-01-01T00:00"}).status == 422
