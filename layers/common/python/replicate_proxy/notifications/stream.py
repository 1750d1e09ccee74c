"""Records of the jobs table's stream as changes of jobs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.dynamo import from_item
from replicate_proxy.notifications.notifier import JobChange
from replicate_proxy.storage.items import job_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.jobs.model import Job

__all__ = ["change_of"]


def change_of(record: Mapping[str, Any]) -> JobChange | None:
    """The change behind a record (Amazon DynamoDB, StreamRecord); None for anything but a job's save."""
    data = record["dynamodb"]
    new = data.get("NewImage")
    if new is None or data["Keys"]["sk"].get("S") != "JOB":
        return None
    return JobChange(_job(data.get("OldImage")), job_of(from_item(new)))


def _job(image: Mapping[str, Any] | None) -> Job | None:
    return job_of(from_item(image)) if image else None
