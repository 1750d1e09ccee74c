"""Pauses: what the admin API stores, what creates get, and what dispatch does with the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from replicate_proxy.aws.pause_store import DynamoPauseStore
from replicate_proxy.errors import ApiError, RetryableError
from replicate_proxy.pauses.pause import ALL_TENANTS, Pause, PausedActivity, PauseMode, PauseSwitch
from tests.support.aws import create_control_table, create_in_memory_aws
from tests.support.clock import FakeClock
from tests.support.control_table import build_control_table
from tests.support.pauses import FakePauseStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.pauses.pause import PauseStore
    from tests.support.admin_api import AdminApi

HOLD = Pause(PauseMode.HOLD, "2026-01-31T09:30:00.000Z")
REFUSE = Pause(PauseMode.REFUSE, "2026-01-31T09:30:00.000Z", "spending too fast")


@pytest.fixture(params=["fake", "simulation", "moto"])
def store(request: pytest.FixtureRequest) -> Iterator[PauseStore]:
    if request.param == "fake":
        yield FakePauseStore()
    elif request.param == "simulation":
        yield DynamoPauseStore(build_control_table(create_in_memory_aws().client("dynamodb")))
    else:
        with mock_aws():
            yield DynamoPauseStore(build_control_table(create_control_table()))


def test_activities_are_paused_apart() -> None:
    table = build_control_table(create_in_memory_aws().client("dynamodb"))
    deliveries = DynamoPauseStore(table, PausedActivity.DELIVERIES)
    deliveries.put("acme", HOLD)

    assert DynamoPauseStore(table).read() == {}
    assert deliveries.read() == {"acme": HOLD}


def test_pauses_are_stored_and_removed(store: PauseStore) -> None:
    assert store.read() == {}

    store.put("acme", HOLD)
    assert store.put(ALL_TENANTS, REFUSE) == {"acme": HOLD, ALL_TENANTS: REFUSE}
    assert store.put("acme", REFUSE) == store.read() == {"acme": REFUSE, ALL_TENANTS: REFUSE}
    assert store.remove("globex") == store.read()
    assert store.remove(ALL_TENANTS) == store.read() == {"acme": REFUSE}


def test_stricter_pause_applies() -> None:
    switch = PauseSwitch(FakePauseStore({ALL_TENANTS: HOLD, "acme": REFUSE}))

    assert switch.find("globex") == HOLD
    switch.check("globex")
    with pytest.raises(ApiError) as refused:
        switch.check("acme")
    assert (refused.value.status, refused.value.retry_after) == (503, 60)
    assert refused.value.detail.endswith("since 2026-01-31T09:30:00.000Z: spending too fast")


def test_change_is_seen_after_seconds_and_an_outage_keeps_the_last_state() -> None:
    clock, store = FakeClock(), FakePauseStore()
    switch = PauseSwitch(store, monotonic=clock.monotonic)
    assert switch.find("acme") is None
    store.put("acme", HOLD)
    assert switch.find("acme") is None

    clock.advance(6)
    assert switch.find("acme") == HOLD
    store.is_unavailable = True
    clock.advance(6)
    assert switch.find("acme") == HOLD


def test_pauses_that_were_never_read_let_nothing_through() -> None:
    store = FakePauseStore()
    store.is_unavailable = True

    with pytest.raises(RetryableError):
        PauseSwitch(store).check("acme")


def test_pauses_that_were_read_long_ago_let_nothing_through() -> None:
    clock, store = FakeClock(), FakePauseStore()
    switch = PauseSwitch(store, monotonic=clock.monotonic)
    switch.check("acme")
    store.put("acme", HOLD)
    store.is_unavailable = True
    clock.advance(59)
    switch.check("acme")

    clock.advance(1)
    for _ in range(2):
        with pytest.raises(RetryableError):
            switch.check("acme")
    store.is_unavailable = False
    assert switch.find("acme") == HOLD


def test_operator_pauses_and_resumes(admin_api: AdminApi) -> None:
    _, paused = admin_api.call("POST", "pause", {"mode": "refuse", "reason": "spending too fast"})
    assert paused["results"] == [
        {
            "activity": "predictions",
            "tenant": None,
            "mode": "refuse",
            "since": "2026-01-31T09:30:00.000Z",
            "reason": "spending too fast",
        }
    ]
    _, both = admin_api.call("POST", "pause", {"tenant": "acme", "mode": "hold"})
    assert [one["tenant"] for one in both["results"]] == [None, "acme"]

    _, left = admin_api.call("POST", "resume", {})

    assert [one["tenant"] for one in left["results"]] == ["acme"]
    assert admin_api.call("GET", "pause") == (200, left)


def test_operator_pauses_deliveries_apart_from_predictions(admin_api: AdminApi) -> None:
    admin_api.call("POST", "pause", {"activity": "predictions", "tenant": "acme", "mode": "refuse"})
    _, both = admin_api.call("POST", "pause", {"activity": "deliveries", "tenant": "acme"})
    assert [(one["activity"], one["mode"]) for one in both["results"]] == [
        ("predictions", "refuse"),
        ("deliveries", "hold"),
    ]

    _, left = admin_api.call("POST", "resume", {"activity": "deliveries", "tenant": "acme"})

    assert [one["activity"] for one in left["results"]] == ["predictions"]
    _, trail = admin_api.call("GET", "audit")
    assert [(one["action"], one["target"]) for one in trail["results"]] == [
        ("resume", "deliveries"),
        ("pause", "deliveries"),
        ("pause", "predictions"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"mode": "stop"},
        {"mode": "hold", "tenant": "No"},
        {"activity": "deliveries", "mode": "refuse"},
        {"activity": "everything", "mode": "hold"},
    ],
)
def test_invalid_pause_is_refused(admin_api: AdminApi, body: dict[str, Any]) -> None:
    status, problem = admin_api.call("POST", "pause", body)

    assert status == 422
    assert problem["invalid_fields"]
