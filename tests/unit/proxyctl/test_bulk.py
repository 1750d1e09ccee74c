"""The commands of bulk operations: what they ask, send and wait for."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.jobs.model import EndReason, JobStatus
from tests.support.builders import make_job
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.proxyctl.conftest import Outcome, Served


@pytest.fixture(autouse=True)
def jobs(served: Served) -> None:
    for number in range(2):
        job = make_job(JobStatus.FAILED, created_at=NOW - timedelta(seconds=number + 1))
        served.api.jobs.create(job)


def list_operations(served: Served) -> list[Any]:
    results: list[Any] = served.api.call("GET", "bulk-operations")[1]["results"]
    return results


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_count_is_confirmed(
    served: Served, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, "n\n")
    refused = run("bulk", "start", "retry", "--tenant", "acme")
    assert refused.exit_code == 130
    assert "retry 2 predictions" in refused.errors
    assert list_operations(served) == []

    type_in(monkeypatch, "y\n")
    started = run("bulk", "start", "retry", "--tenant", "acme", "--json")
    assert started.exit_code == 0, started.errors
    assert started.errors.startswith("retry 2 predictions")
    assert [each["id"] for each in list_operations(served)] == [started.json["id"]]
    assert started.json["started_by"]["source"] == "cli"
    assert "Idempotency-Key" in served.headers[-1]


def test_without_a_terminal_nothing_is_started(
    served: Served, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, "")

    assert run("bulk", "start", "retry", "--tenant", "acme").exit_code == 130
    assert list_operations(served) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--tenant", "acme", "--expected-count", "3"], "Count has changed"),
        (["--tenant", "globex", "--yes"], "Nothing matches"),
        (["--yes"], "at least one criterion"),
        (["--status", "succeeded", "--yes"], "retry applies to"),
        (["--tenant", "NO", "--yes"], "filter.tenant"),
    ],
)
def test_refusal_is_shown(
    served: Served, run: Callable[..., Outcome], options: list[str], expected: str
) -> None:
    shown = run("bulk", "start", "retry", *options)

    assert (shown.exit_code, expected in shown.errors) == (1, True), shown.errors
    assert list_operations(served) == []


def test_unknown_action_is_wrong_usage(run: Callable[..., Outcome]) -> None:
    assert run("bulk", "start", "explode", "--tenant", "acme").exit_code == 2


@pytest.mark.parametrize(("end_reason", "exit_code"), [(None, 0), (EndReason.UNRESOLVED, 1)])
def test_end_is_waited_for(
    served: Served,
    run: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    end_reason: EndReason | None,
    exit_code: int,
) -> None:
    served.api.jobs.create(
        make_job(JobStatus.FAILED, created_at=NOW - timedelta(seconds=3), end_reason=end_reason)
    )

    def work(_: float) -> None:
        now = served.api.clock.now()
        served.api.bulk_worker.run(now + timedelta(seconds=9), lease_until=now + timedelta(seconds=9))

    monkeypatch.setattr("proxyctl.commands.bulk.time.sleep", work)

    shown = run("bulk", "start", "retry", "--tenant", "acme", "--yes", "--wait", "--json")

    assert shown.exit_code == exit_code
    assert (shown.json["status"], shown.json["remaining"]) == ("succeeded", 0)
    assert shown.errors.startswith("0 of 3, 0 failed")
    assert run("bulk", "show", shown.json["id"], "--wait").exit_code == exit_code
