"""The end of a harvest that cannot succeed any more: what is stored stays, the rest keeps its old URLs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.errors import NotFoundError
from replicate_proxy.jobs.changes import Harvested
from replicate_proxy.jobs.policy import RESULT_LIFETIME
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.outputs.records import FileRecord
from replicate_proxy.outputs.walk import replace_files

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import DocumentStore

__all__ = ["degraded", "is_hopeless"]

# Some time for a round that began within the hour.
_GRACE = timedelta(minutes=10)


def is_hopeless(job: Job, now: datetime) -> bool:
    """Whether Replicate has deleted the files by now, so that another round can bring no more of them."""
    return now - (job.completed_at or job.created_at) > RESULT_LIFETIME + _GRACE


def degraded(job: Job, documents: DocumentStore) -> Harvested:
    """The job succeeds with an output of which some or all files are where the model put them."""
    count(Metric.FILE_DEGRADED)
    logger.error("harvest given up, output left where it was", job_id=job.id, attempt=job.attempt)
    try:
        output = documents.load(job.source_output)
    except NotFoundError:
        count(Metric.OUTPUT_LOST)
        return Harvested(documents.keep(job.tenant, job.id, "output", None), job.files)
    records = [FileRecord.from_json(record) for record in documents.load(job.files) or ()]
    stored = {record.path: record.url for record in records if record.outcome != "left"}
    final = replace_files(output, stored)
    return Harvested(documents.keep(job.tenant, job.id, "output", final), job.files)
