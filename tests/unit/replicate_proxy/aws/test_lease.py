"""The lease on a table with DynamoDB's conditions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.lease import Lease
from replicate_proxy.errors import RetryableError
from tests.support.aws import CONTROL_TABLE, create_control_table, make_client_error, make_failing_client
from tests.support.clock import NOW, FakeClock
from tests.support.control_table import build_control_table

if TYPE_CHECKING:
    from collections.abc import Iterator

UNTIL = NOW + timedelta(seconds=55)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def table() -> Iterator[ControlTable]:
    with mock_aws():
        yield build_control_table(create_control_table())


@pytest.fixture
def lease(table: ControlTable, clock: FakeClock) -> Lease:
    return Lease(table, "sweep", clock)


def test_second_run_is_refused_while_the_first_holds_the_lease(lease: Lease) -> None:
    with lease.hold(UNTIL) as first, lease.hold(UNTIL) as second:
        assert (first, second) == (True, False)


def test_lease_is_free_after_the_block_even_if_it_fails(lease: Lease) -> None:
    with pytest.raises(ZeroDivisionError), lease.hold(UNTIL):
        raise ZeroDivisionError

    with lease.hold(UNTIL) as is_free:
        assert is_free


def test_refused_run_does_not_release_the_lease(lease: Lease) -> None:
    with lease.hold(UNTIL):
        with lease.hold(UNTIL):
            pass
        with lease.hold(UNTIL) as third:
            assert not third


def test_lease_that_was_not_released_expires(table: ControlTable, lease: Lease, clock: FakeClock) -> None:
    class UnreleasedTable(ControlTable):
        """The lease is acquired, and the function ends without releasing it."""

        def __init__(self) -> None:
            self._is_acquired = False

        def update(self, *args: Any, **options: Any) -> Any:
            if self._is_acquired:
                raise RetryableError("the function has ended")
            self._is_acquired = True
            return table.update(*args, **options)

    with Lease(UnreleasedTable(), "sweep", clock).hold(UNTIL):
        pass

    clock.set(UNTIL - timedelta(milliseconds=1))
    with lease.hold(UNTIL) as before:
        assert not before
    clock.set(UNTIL)
    with lease.hold(UNTIL + timedelta(minutes=1)) as after:
        assert after


def test_late_run_does_not_release_the_lease_of_the_next(lease: Lease, clock: FakeClock) -> None:
    late = lease.hold(UNTIL)
    late.__enter__()
    clock.set(UNTIL)
    with lease.hold(UNTIL + timedelta(minutes=1)):
        late.__exit__(None, None, None)
        with lease.hold(UNTIL + timedelta(minutes=1)) as third:
            assert not third


def test_leases_of_other_names_are_independent(lease: Lease, table: ControlTable, clock: FakeClock) -> None:
    with lease.hold(UNTIL), Lease(table, "other", clock).hold(UNTIL) as is_free:
        assert is_free


def test_one_of_many_simultaneous_runs_gets_the_lease(lease: Lease) -> None:
    barrier = Barrier(8)

    def run(_: int) -> bool:
        with lease.hold(UNTIL) as is_free:
            barrier.wait()
            return is_free

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(run, range(8))) == [False] * 7 + [True]


def test_write_that_the_sdk_repeated_still_acquires_the_lease(table: ControlTable, clock: FakeClock) -> None:
    class RepeatingTable(ControlTable):
        """The response of the first write is lost, and the SDK sends it again."""

        def __init__(self) -> None:
            pass

        def update(self, *args: Any, **options: Any) -> Any:
            table.update(*args, **options)
            return table.update(*args, **options)

    with Lease(RepeatingTable(), "sweep", clock).hold(UNTIL) as is_free:
        assert is_free


def test_nothing_runs_while_the_table_is_unavailable(clock: FakeClock) -> None:
    client = make_failing_client(make_client_error("InternalServerError"))
    lease = Lease(ControlTable(client, CONTROL_TABLE), "sweep", clock)

    with pytest.raises(RetryableError), lease.hold(UNTIL):
        pytest.fail("the block ran")
