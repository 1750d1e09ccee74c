"""Store the files of outputs without fetching or decoding anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.errors import RetryableError
from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult
from replicate_proxy.outputs.references import find_references, replace_references
from tools.simulation.functions.components import OUTPUTS_BASE_URL
from tools.simulation.resources import BUCKET

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.images.options import ImageOptions
    from tools.simulation.aws import InMemoryAws
    from tools.simulation.faults import FaultPlan
    from tools.simulation.replicate import SimulatedReplicate
    from tools.simulation.scheduler import Scheduler

_FAILURES = frozenset({"refused", "reset", "response_lost", "status_503", "broken_json"})


class SimulatedOutputHarvester:
    """Stores one object for each file of an output, without fetching or decoding anything."""

    def __init__(
        self, aws: InMemoryAws, replicate: SimulatedReplicate, plan: FaultPlan, scheduler: Scheduler
    ) -> None:
        self._s3 = aws.client("s3")
        self._replicate = replicate
        self._plan = plan
        self._scheduler = scheduler

    def harvest(
        self,
        *,
        tenant: str,
        job_id: str,
        output: object,
        options: ImageOptions,
        deadline: datetime,
        earlier_records: tuple[FileRecord, ...],
        is_private: bool,
    ) -> HarvestResult:
        del options, deadline, is_private
        records = {record.path: record for record in earlier_records if not record.retryable}
        for reference in find_references(output):
            if reference.path not in records:
                records[reference.path] = self._store(tenant, job_id, reference.path, reference.url)
        urls = {record.path: record.url for record in records.values() if record.is_stored}
        return HarvestResult(output=replace_references(output, urls), records=tuple(records.values()))

    def _store(self, tenant: str, job_id: str, path: tuple[Any, ...], url: str) -> FileRecord:
        actor = self._scheduler.actor
        fault = self._plan.choose_replicate_fault(actor, "download", is_create=False)
        self._plan.pause(actor, f"download {url}", fault)
        prediction_id = url.split("/")[3]
        if not self._replicate.has_data(prediction_id):
            return FileRecord(path, FileOutcome.NOT_STORED, url, "gone")
        ended = self._replicate.predictions[prediction_id].ended or 0.0
        if fault in _FAILURES or self._plan.is_file_late(url, ended):
            return FileRecord(path, FileOutcome.NOT_STORED, url, "unavailable", retryable=True)
        key = f"outputs/{tenant}/{job_id}/{prediction_id}-{url.split('/')[4]}"
        try:
            with translate_aws_errors("store file"):
                self._s3.put_object(Bucket=BUCKET, Key=key, Body=prediction_id.encode())
        except RetryableError:
            return FileRecord(path, FileOutcome.NOT_STORED, url, "store_failed", retryable=True)
        return FileRecord(path, FileOutcome.STORED, f"{OUTPUTS_BASE_URL}/{key}")
