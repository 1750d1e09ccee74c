"""A lease in the control table, which makes runs of a function mutually exclusive.

Reserved concurrency of 1 would do the same, but Lambda keeps 100 executions of an account unreserved and so
refuses it to accounts whose limit is low; new accounts may have a limit of 10 (AWS Lambda Developer Guide,
"Understanding Lambda function scaling" and "Configuring reserved concurrency for a function").
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from replicate_proxy.aws.control_table import ConditionFailedError
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.ports import Clock


class Lease:
    """The record `LEASE#<name>`: its `holder`, and `held_until` in Unix time in whole milliseconds."""

    def __init__(self, table: ControlTable, name: str, clock: Clock) -> None:
        self._table = table
        self._key = f"LEASE#{name}"
        self._clock = clock

    @contextmanager
    def hold(self, until: datetime) -> Iterator[bool]:
        """Hold the lease for the block, and yield whether it was free.

        A holder that crashes loses it at `until`, which must therefore not be before the end of the block.
        Raises RetryableError if the table cannot be reached: without the lease nothing may run.
        """
        holder = secrets.token_hex(8)
        if not self._acquire(holder, until):
            yield False
            return
        try:
            yield True
        finally:
            self._release(holder)

    def _acquire(self, holder: str, until: datetime) -> bool:
        now = self._clock.now()
        try:
            self._table.update(
                self._key,
                "SET holder = :holder, held_until = :until",
                {"holder": holder, "until": _to_milliseconds(until), "now": _to_milliseconds(now)},
                condition="attribute_not_exists(held_until) OR held_until <= :now",
            )
        except ConditionFailedError as error:
            # The SDK repeats a write whose response was lost: then the lease is ours already.
            return error.record.get("holder") == holder
        return True

    def _release(self, holder: str) -> None:
        try:
            self._table.update(
                self._key,
                "SET held_until = :zero",
                {"zero": 0, "holder": holder},
                condition="holder = :holder",
            )
        except (ConditionFailedError, RetryableError) as error:
            logger.warning("lease not released, it expires", reason=str(error))


def _to_milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
