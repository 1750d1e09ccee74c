"""The handlers of the functions, which invoke their services as functions/*/app.py do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.job_stream import job_change_from_stream_record
from replicate_proxy.contracts.commands import DispatchCommand
from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.replicate_api.retry import retry_budget
from replicate_proxy.webhooks.commands import DeliverCommand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicate_proxy.batches.worker import BatchWorker
    from tools.simulation.functions.operation_worker import OperationWorker
    from tools.simulation.functions.reports import Reports
    from tools.simulation.functions.stream_consumers import Notify, Usage
    from tools.simulation.functions.sweep import Sweep
    from tools.simulation.scheduler import Scheduler
    from tools.simulation.timestamps import VirtualClock

_SWEEP_RESERVED = timedelta(seconds=8)
_BATCH_RESERVED = timedelta(seconds=20)
_OPERATION_RESERVED = timedelta(seconds=8)
_DISPATCH_RESERVED_SECONDS = 5.0


class Handlers:
    """Handle what invokes the functions, as functions/*/app.py do."""

    def __init__(self, scheduler: Scheduler, clock: VirtualClock) -> None:
        self._scheduler = scheduler
        self._clock = clock

    def dispatch(self, dispatcher: Any, body: str) -> None:
        command = DispatchCommand.from_json(body)
        actor = self._scheduler.actor
        actor.notes["job"] = (command.tenant, command.job_id)
        with retry_budget(self._calculate_seconds_left() - _DISPATCH_RESERVED_SECONDS):
            dispatcher.handle_command(command)

    def track(self, reports: Reports, body: str) -> None:
        reports.tracker.track_report(reports.loader.load(PredictionReport.from_queue_message(body)))

    def harvest(self, reports: Reports, body: str) -> None:
        report = reports.loader.load(PredictionReport.from_queue_message(body))
        actor = self._scheduler.actor
        actor.notes["job"] = (report.tenant, report.job_id)
        reports.harvester.harvest_job(report, self._clock.now() + self._calculate_time_left())

    def deliver(self, deliverer: Any, body: str) -> None:
        deliverer.deliver(DeliverCommand.from_json(body))

    def work_on_batches(self, worker: BatchWorker) -> None:
        worker.run(self._clock.now() + timedelta(seconds=self._calculate_seconds_left()) - _BATCH_RESERVED)

    def work_on_operations(self, worker: OperationWorker) -> None:
        now = self._clock.now()
        end = now + timedelta(seconds=self._calculate_seconds_left())
        deadline = end - _OPERATION_RESERVED
        worker.erasures.run(now + (deadline - now) / 2, lease_until=end)
        worker.bulk.run(deadline, lease_until=end)

    def notify(self, notify: Notify, records: Sequence[Mapping[str, Any]]) -> int | None:
        changes, indexes = [], []
        for index, record in enumerate(records):
            change = job_change_from_stream_record(record)
            if change is not None:
                changes.append(change)
                indexes.append(index)
        failed = notify.handler.handle(changes)
        return None if failed is None else indexes[failed]

    def count_usage(self, usage: Usage, records: Sequence[Mapping[str, Any]]) -> int | None:
        changes = [change for record in records if (change := job_change_from_stream_record(record))]
        return usage.counter.count(changes)

    def sweep(self, sweep: Sweep) -> None:
        now = self._clock.now()
        end = now + timedelta(seconds=self._calculate_seconds_left())
        with sweep.lease.hold(until=end) as is_free:
            if not is_free:
                return
            for start in sweep.start_workers:
                start()
            sweep.run.run(now, end - _SWEEP_RESERVED)

    def _calculate_seconds_left(self) -> float:
        actor = self._scheduler.actor
        return actor.process.deadline - self._scheduler.now

    def _calculate_time_left(self) -> timedelta:
        actor = self._scheduler.actor
        return timedelta(seconds=actor.process.deadline - self._clock.now().timestamp())
