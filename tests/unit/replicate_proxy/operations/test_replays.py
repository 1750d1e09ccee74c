"""Replays of archived events: the admin API over a fake, and the adapter on moto."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from replicate_proxy.aws.event_replays import ArchiveAddresses, EventBridgeReplays
from replicate_proxy.errors import NotFoundError, PermanentError
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_events import EventBridgeClient

    from tests.support.admin_api import AdminApi

PERIOD = {"from": "2026-01-30T00:00:00Z", "to": "2026-01-31T00:00:00+01:00"}


def test_replay_is_started_shown_listed_and_canceled(admin_api: AdminApi) -> None:
    status, replay = admin_api.call("POST", "replays", {**PERIOD, "rules": ["harvest"]})
    assert status == 201
    assert (replay["state"], replay["rules"]) == ("running", ["harvest"])
    assert (replay["from"], replay["to"]) == ("2026-01-30T00:00:00.000Z", "2026-01-30T23:00:00.000Z")

    assert admin_api.call("GET", f"replays/{replay['id']}") == (200, replay)
    _, listed = admin_api.call("GET", "replays")
    assert [one["id"] for one in listed["results"]] == [replay["id"]]
    _, canceled = admin_api.call("POST", f"replays/{replay['id']}/cancel", {})
    assert canceled["state"] == "cancelling"
    status, problem = admin_api.call("POST", f"replays/{replay['id']}/cancel", {})
    assert (status, problem["title"]) == (409, "Replay has ended")

    _, trail = admin_api.call("GET", "audit")
    assert [(one["action"], one["outcome"]) for one in trail["results"]] == [
        ("replay.cancel", "refused"),
        ("replay.cancel", "succeeded"),
        ("replay.start", "succeeded"),
    ]


def test_replay_without_rules_goes_to_all_of_ours(admin_api: AdminApi) -> None:
    assert admin_api.call("POST", "replays", PERIOD)[1]["rules"] == ["harvest", "track"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "from"),
        ({"from": PERIOD["to"], "to": PERIOD["from"]}, "to"),
        ({**PERIOD, "to": "2027-01-01T00:00:00Z"}, "to"),
        ({**PERIOD, "rules": ["customer"]}, "rules"),
        ({"from": "2026-01-30", "to": PERIOD["to"]}, "from"),
    ],
)
def test_invalid_replay_is_refused(admin_api: AdminApi, body: dict[str, Any], field: str) -> None:
    status, problem = admin_api.call("POST", "replays", body)

    assert status == 422
    assert field in {one["field"] for one in problem["invalid_fields"]}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "replays", None),
        ("POST", "replays", PERIOD),
        ("GET", "replays/x", None),
        ("POST", "replays/x/cancel", {}),
    ],
)
def test_deployment_without_archive_says_so(
    admin_api: AdminApi, method: str, path: str, body: dict[str, Any] | None
) -> None:
    admin_api.replays = None

    status, problem = admin_api.call(method, path, body)

    assert (status, problem["title"]) == (409, "Event archive is off")
    assert "EnableEventArchive=true" in problem["detail"]


@pytest.mark.parametrize("replay_id", ["0" * 26, "unknown", "x" * 65, "a~b"])
def test_unknown_replay_is_not_found(admin_api: AdminApi, replay_id: str) -> None:
    """EventBridge refuses names that it cannot have, which moto does not."""
    assert admin_api.call("GET", f"replays/{replay_id}")[0] == 404
    assert admin_api.call("POST", f"replays/{replay_id}/cancel", {})[0] == 404


@pytest.fixture
def client() -> Iterator[EventBridgeClient]:
    with mock_aws():
        yield boto3.client("events", region_name="eu-central-1")


@pytest.fixture
def addresses(client: EventBridgeClient) -> ArchiveAddresses:
    bus = client.create_event_bus(Name="proxy")["EventBusArn"]
    rules = {
        name: client.put_rule(Name=name, EventBusName="proxy", EventPattern='{"source": ["x"]}')["RuleArn"]
        for name in ("harvest", "track")
    }
    archive = client.create_archive(ArchiveName="proxy", EventSourceArn=bus)["ArchiveArn"]
    return ArchiveAddresses(archive, bus, rules)


def test_adapter_starts_finds_and_cancels_replays(
    client: EventBridgeClient, addresses: ArchiveAddresses
) -> None:
    replays = EventBridgeReplays(client, addresses)
    start = NOW - timedelta(hours=1)
    replays.start("replay-1", start=start, end=NOW, rules=["track"])

    found = replays.get("replay-1")
    assert (found.id, found.rules, found.start, found.end) == ("1", ("track",), start, NOW)
    assert found.started_at is not None
    assert [one.id for one in replays.list()] == ["1"]
    replays.cancel("replay-1")
    assert replays.get("replay-1").state == "CANCELLED"


def test_adapter_knows_no_replay_of_another_archive(
    client: EventBridgeClient, addresses: ArchiveAddresses
) -> None:
    EventBridgeReplays(client, addresses).start("replay-1", start=NOW, end=NOW, rules=["track"])
    client.create_archive(ArchiveName="other", EventSourceArn=addresses.bus)
    other = ArchiveAddresses(addresses.archive.replace("/proxy", "/other"), addresses.bus, addresses.rules)

    replays = EventBridgeReplays(client, other)

    assert replays.list() == []
    for act in (replays.get, replays.cancel):
        with pytest.raises(NotFoundError):
            act("replay-1")
    with pytest.raises(NotFoundError):
        replays.get("replay-2")


def test_adapter_reports_what_eventbridge_refuses(
    client: EventBridgeClient, addresses: ArchiveAddresses
) -> None:
    replays = EventBridgeReplays(client, addresses)
    replays.start("replay-1", start=NOW - timedelta(hours=1), end=NOW, rules=["track"])
    with pytest.raises(PermanentError):
        replays.start("replay-1", start=NOW - timedelta(hours=1), end=NOW, rules=["track"])
