"""A release in the middle of jobs: functions of two versions work on the same records and messages.

The version before has no attribute that was added since, and its writes remove it: a job is saved as a whole.
The version after adds attributes and message fields that this one does not know.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from replicate_proxy.aws import delivery_store, job_store
from replicate_proxy.aws.dynamodb import put_record, to_item
from replicate_proxy.contracts.commands import DispatchCommand
from replicate_proxy.webhooks.commands import DeliverCommand
from tools.simulation.run import RunSettings, run_seed
from tools.simulation.scheduler import Scheduler

# What a job or a message can be without; each was added after the first version.
ADDED_TO_JOBS = frozenset({"write_id", "progress_at", "partial_output", "report_channel", "key_id"})
ADDED_TO_MESSAGES = frozenset({"correlation_id", "receiver_id"})
UNKNOWN = {"added_by_next_version": "x"}
VERSIONS = ("before", "this", "after")


class Releases:
    """Gives every process a version, and counts what each has written."""

    def __init__(self) -> None:
        self.written = Counter[str]()
        self.scheduler: Scheduler | None = None

    def convert(self, record: Mapping[str, Any], added: frozenset[str]) -> dict[str, Any]:
        """Return the record or message as the current process writes it."""
        version = self._choose_version()
        self.written[version] += 1
        if version == "before":
            return {name: value for name, value in record.items() if name not in added}
        return {**record, **UNKNOWN} if version == "after" else dict(record)

    def _choose_version(self) -> str:
        actor = self.scheduler.current if self.scheduler else None
        name = actor.process.name if actor else ""
        return VERSIONS[sum(name.encode()) % len(VERSIONS)]


@pytest.fixture
def releases(monkeypatch: pytest.MonkeyPatch) -> Releases:
    found = Releases()
    start = Scheduler.__init__

    def keep_scheduler(scheduler: Scheduler, *arguments: Any, **options: Any) -> None:
        start(scheduler, *arguments, **options)
        found.scheduler = scheduler

    def convert_item(record: Mapping[str, Any]) -> Any:
        return to_item(found.convert(record, ADDED_TO_JOBS) if record.get("status") else record)

    def convert_delivery(
        client: Any, table: str, record: Mapping[str, Any], *rest: Any, **options: Any
    ) -> None:
        put_record(client, table, found.convert(record, frozenset()), *rest, **options)

    monkeypatch.setattr(Scheduler, "__init__", keep_scheduler)
    monkeypatch.setattr(job_store, "to_item", convert_item)
    monkeypatch.setattr(delivery_store, "put_record", convert_delivery)
    for command in (DispatchCommand, DeliverCommand):
        to_json = command.to_json

        def convert_message(message: Any, to_json: Any = to_json) -> str:
            return json.dumps(found.convert(json.loads(to_json(message)), ADDED_TO_MESSAGES))

        monkeypatch.setattr(command, "to_json", convert_message)
    return found


@pytest.mark.parametrize("seed", range(1, 9))
def test_every_guarantee_holds_while_versions_change(seed: int, releases: Releases) -> None:
    result = run_seed(seed, RunSettings(jobs=12, key_requests=0))

    assert result.violation is None
    assert result.accepted > 0
    assert all(releases.written[version] for version in VERSIONS)
