"""Pauses in the control table: one document for each activity, which the functions cache."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from replicate_proxy.aws.versioned_document import VersionedDocument
from replicate_proxy.pauses.pause import Pause, PausedActivity, PauseMode
from replicate_proxy.stored_fields import build_from_stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.pauses.pause import Pauses

_DOCUMENT_NAMES = {PausedActivity.PREDICTIONS: "PAUSES", PausedActivity.DELIVERIES: "DELIVERY-PAUSES"}


class DynamoPauseStore:
    """The PauseStore port on the control table, for the pauses of one activity."""

    def __init__(self, table: ControlTable, activity: PausedActivity = PausedActivity.PREDICTIONS) -> None:
        self._document = VersionedDocument(table, _DOCUMENT_NAMES[activity])

    def read(self) -> Pauses:
        return _decode(self._document.read().text)

    def put(self, tenant: str, pause: Pause) -> Pauses:
        return self._change(lambda pauses: {**pauses, tenant: pause})

    def remove(self, tenant: str) -> Pauses:
        return self._change(lambda pauses: {name: pauses[name] for name in pauses if name != tenant})

    def _change(self, change: Callable[[Pauses], Pauses]) -> Pauses:
        return _decode(self._document.change(lambda text: _encode(change(_decode(text)))))


def _encode(pauses: Pauses) -> str:
    return json.dumps({tenant: asdict(pause) for tenant, pause in pauses.items()})


def _decode(text: str) -> Pauses:
    stored = json.loads(text or "{}")
    return {
        tenant: build_from_stored(Pause, pause, mode=PauseMode(pause["mode"]))
        for tenant, pause in stored.items()
    }
