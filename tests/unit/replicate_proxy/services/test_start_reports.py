"""Whether Replicate is asked to report the start of a job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.errors import RetryableError
from replicate_proxy.services.start_reports import StartReports
from replicate_proxy.webhooks.endpoints import DisabledReason
from tests.support.builders import make_job
from tests.support.clock import FakeClock
from tests.support.webhook_builders import make_endpoint

if TYPE_CHECKING:
    from replicate_proxy.webhooks.endpoints import Endpoint


@dataclass
class Tenants:
    """The endpoints of all tenants, and the reads of them."""

    endpoints: list[Endpoint] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    is_broken: bool = False
    clock: FakeClock = field(default_factory=FakeClock)

    def list_endpoints(self, tenant: str) -> list[Endpoint]:
        self.reads.append(tenant)
        if self.is_broken:
            raise RetryableError("down")
        return [endpoint for endpoint in self.endpoints if endpoint.tenant == tenant]

    def build_reports(self, *, are_always_wanted: bool = False) -> StartReports:
        return StartReports(
            self.list_endpoints, are_always_wanted=are_always_wanted, monotonic=self.clock.monotonic
        )


@pytest.mark.parametrize(
    ("fields", "is_wanted"),
    [
        ({}, False),
        ({"webhook_events": ("start",)}, True),
        ({"webhook_events": ("output", "completed")}, False),
        ({"fallback_after_seconds": 60}, True),
        ({"batch_id": "b1"}, False),
        ({"batch_id": "b1", "batch_line": 7, "webhook_events": ("start",)}, True),
        ({"batch_id": "b1", "batch_line": 7, "fallback_after_seconds": 60}, False),
    ],
)
def test_start_is_wanted_where_the_job_needs_it(fields: dict[str, Any], is_wanted: bool) -> None:
    assert Tenants().build_reports().are_wanted(make_job(**fields)) is is_wanted


@pytest.mark.parametrize(
    ("endpoint", "is_wanted"),
    [
        ({}, True),
        ({"events": ("start", "completed")}, True),
        ({"events": ("completed",)}, False),
        ({"disabled_reason": DisabledReason.GONE}, False),
        ({"tenant": "globex"}, False),
    ],
)
def test_start_is_wanted_where_an_endpoint_listens(endpoint: dict[str, Any], is_wanted: bool) -> None:
    tenants = Tenants([make_endpoint(**endpoint)])

    assert tenants.build_reports().are_wanted(make_job()) is is_wanted
    assert not tenants.build_reports().are_wanted(make_job(batch_id="b1", batch_line=7))


def test_consumers_of_the_bus_can_have_every_start_but_those_of_large_batches() -> None:
    tenants = Tenants()
    reports = tenants.build_reports(are_always_wanted=True)

    assert reports.are_wanted(make_job())
    assert not reports.are_wanted(make_job(batch_id="b1", batch_line=7))
    assert tenants.reads == []


def test_endpoints_of_a_tenant_are_read_every_half_minute() -> None:
    tenants = Tenants()
    reports = tenants.build_reports()
    for _ in range(40):
        reports.are_wanted(make_job())
        reports.are_wanted(make_job(tenant="globex"))
        tenants.clock.advance(1)

    assert sorted(tenants.reads) == ["acme", "acme", "globex", "globex"]


def test_start_is_asked_for_while_endpoints_cannot_be_read() -> None:
    tenants = Tenants(is_broken=True)
    reports = tenants.build_reports()
    assert reports.are_wanted(make_job())

    tenants.is_broken = False
    assert not reports.are_wanted(make_job())
