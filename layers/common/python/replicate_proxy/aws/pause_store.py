"""Pauses in the control table: one record, which the functions cache."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.control_table import ConditionFailedError
from replicate_proxy.errors import ConflictError
from replicate_proxy.pauses.pause import Pause, PauseMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.aws.control_table import ControlTable, Record
    from replicate_proxy.pauses.pause import Pauses

_KEY = "PAUSES"
_MAX_ATTEMPTS = 5


class DynamoPauseStore:
    """The PauseStore port on the control table."""

    def __init__(self, table: ControlTable) -> None:
        self._table = table

    def read(self) -> Pauses:
        return _pauses_from_record(self._table.read(_KEY))

    def put(self, tenant: str, pause: Pause) -> Pauses:
        return self._change(lambda pauses: {**pauses, tenant: pause})

    def remove(self, tenant: str) -> Pauses:
        return self._change(lambda pauses: {name: pauses[name] for name in pauses if name != tenant})

    def _change(self, change: Callable[[Pauses], Pauses]) -> Pauses:
        """Apply the change to what is stored; applying it twice has the same effect.

        Raises ConflictError if others keep changing the pauses.
        """
        for _ in range(_MAX_ATTEMPTS):
            record = self._table.read(_KEY)
            revision = int(record.get("revision", 0))
            pauses = change(_pauses_from_record(record))
            values: dict[str, Any] = {"pauses": _encode(pauses), "new": revision + 1}
            condition = "attribute_not_exists(revision)"
            if revision:
                values["revision"] = revision
                condition = "revision = :revision"
            try:
                self._table.update(_KEY, "SET pauses = :pauses, revision = :new", values, condition=condition)
            except ConditionFailedError:
                continue
            return pauses
        raise ConflictError("the pauses keep changing")


def _encode(pauses: Pauses) -> str:
    return json.dumps({tenant: asdict(pause) for tenant, pause in pauses.items()})


def _pauses_from_record(record: Record) -> Pauses:
    stored = json.loads(record.get("pauses", "{}"))
    return {tenant: Pause(**{**pause, "mode": PauseMode(pause["mode"])}) for tenant, pause in stored.items()}
