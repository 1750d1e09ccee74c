"""Durations in the code that depend on the timeouts of the functions in the template."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta

import pytest

from replicate_proxy import settings
from replicate_proxy.audit import log as audit_log
from replicate_proxy.config import Setting
from replicate_proxy.deletion import model as deletion_model
from replicate_proxy.operations.erasure import model as erasure_model
from tests.template.variants import VARIANTS
from tools.simulation import event_sources, sweep_schedule
from tools.simulation.functions import authorize
from tools.template.stack import load_stack

# What Replicate's list lacks for so long does not exist.
REPLICATE_LIST_DELAY = timedelta(minutes=2)
STREAM_RETENTION = timedelta(hours=24)  # Amazon DynamoDB, Streams


def list_timeouts(names: Collection[str] | None = None) -> Iterator[timedelta]:
    """Yield the timeouts of the functions with these names, or of all."""
    for variant in ("default", "everything"):
        stack = load_stack(**VARIANTS[variant])
        for function in stack.of_type("Lambda::Function"):
            name = str(function.properties["FunctionName"]).rpartition("-")[2]
            if names is None or name in names:
                yield timedelta(seconds=int(function.properties["Timeout"]))


def find_timeout(*names: str) -> timedelta:
    """Return the longest timeout of the functions."""
    timeouts = list(list_timeouts({*names}))
    assert len(timeouts) == 2 * len(names)
    return max(timeouts)


@pytest.mark.parametrize(
    ("setting", "holders"),
    [
        # The sweep takes an expired lease for a create of unknown outcome.
        pytest.param(settings.DISPATCH_LEASE_SECONDS, ["dispatch"], id="dispatch"),
        # Two requests of one delivery at a time could both be accepted.
        pytest.param(settings.DELIVERY_LEASE_SECONDS, ["deliver"], id="delivery"),
        pytest.param(settings.BREAKER_PROBE_LEASE_SECONDS, ["dispatch", "sweep"], id="probe of the breaker"),
    ],
)
def test_lease_does_not_end_while_its_holder_runs(setting: Setting[float], holders: list[str]) -> None:
    assert timedelta(seconds=setting.default) >= find_timeout(*holders)


def test_job_is_sent_again_after_its_latest_request_is_listed() -> None:
    """The wait begins with the claim, but dispatch may send the request again until its time is up."""
    sent_and_listed = find_timeout("dispatch") + REPLICATE_LIST_DELAY

    assert settings.RESUBMIT_AFTER_SECONDS.min_on_aws is not None
    assert timedelta(seconds=settings.RESUBMIT_AFTER_SECONDS.min_on_aws) >= sent_and_listed


def test_delivery_is_left_to_the_queue_for_longer_than_its_lease() -> None:
    assert settings.DELIVERY_REQUEUE_AFTER_SECONDS.default > settings.DELIVERY_LEASE_SECONDS.default


def test_deliveries_are_removed_after_a_change_sent_without_asking_is_recorded() -> None:
    recorded_after = deletion_model.LATE_CHANGE + find_timeout("notify")

    assert recorded_after <= deletion_model._FIRST_PASS_DELAY


def test_deletions_and_erasures_outlast_every_invocation() -> None:
    longest = max(list_timeouts())

    assert longest <= deletion_model._RUNNING_WRITES
    assert longest < erasure_model.QUIET_PERIOD


def test_rows_that_recognize_a_repeated_change_outlast_the_stream() -> None:
    assert STREAM_RETENTION + find_timeout("notify", "usage") < deletion_model._LATE_WRITES


def test_change_without_result_is_not_closed_while_its_function_runs() -> None:
    assert find_timeout("admin", "console") < audit_log._ABANDONED_AFTER


def test_functions_of_the_simulation_have_the_timeouts_of_the_template() -> None:
    simulated = {**event_sources._TIMEOUTS, "sweep": sweep_schedule._SWEEP_TIMEOUT_SECONDS}
    by_function = {
        name.removeprefix("batch-").removesuffix("-work"): seconds for name, seconds in simulated.items()
    }

    assert len(by_function) == len(simulated) - 1  # dispatch has two queues
    for name, seconds in by_function.items():
        assert find_timeout(name) == timedelta(seconds=seconds), name


def test_decisions_of_the_authorizer_are_cached_in_the_simulation_for_as_long_as_in_the_template() -> None:
    (function,) = (
        each
        for each in load_stack(**VARIANTS["default"]).of_type("Lambda::Function")
        if str(each.properties["FunctionName"]).endswith("-admin")
    )
    cached_seconds = function.properties["Environment"]["Variables"][settings.AUTHORIZER_CACHE_SECONDS.name]

    assert float(cached_seconds) == authorize.AUTHORIZER_CACHE_SECONDS
