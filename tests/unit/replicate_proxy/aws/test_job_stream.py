"""Records of the jobs stream as changes of jobs."""

from __future__ import annotations

import pytest

from replicate_proxy.aws.dynamodb import to_item
from replicate_proxy.aws.job_records import record_from_job
from replicate_proxy.aws.job_stream import job_change_from_stream_record
from tests.support.webhook_builders import as_succeeded, make_job


def test_save_is_a_change_from_old_to_new_job() -> None:
    job = make_job()
    record = {
        "eventName": "MODIFY",
        "dynamodb": {
            "Keys": {"pk": {"S": "JOB#acme#x"}, "sk": {"S": "JOB"}},
            "OldImage": to_item(record_from_job(job)),
            "NewImage": to_item(record_from_job(as_succeeded(job))),
        },
    }
    change = job_change_from_stream_record(record)
    assert change is not None
    assert (change.old, change.new) == (job, as_succeeded(job))


def test_new_job_is_a_change_without_old_job() -> None:
    record = {
        "dynamodb": {"Keys": {"sk": {"S": "JOB"}}, "NewImage": to_item(record_from_job(make_job()))},
    }
    change = job_change_from_stream_record(record)
    assert change is not None
    assert (change.old, change.new) == (None, make_job())


@pytest.mark.parametrize(
    "stream_record",
    [
        {"Keys": {"sk": {"S": "JOB"}}, "OldImage": {}},
        {"Keys": {"sk": {"S": "IDEM"}}, "NewImage": {"pk": {"S": "x"}}},
    ],
    ids=["deletion", "other item"],
)
def test_deletion_or_other_item_is_no_change(stream_record: dict[str, object]) -> None:
    assert job_change_from_stream_record({"dynamodb": stream_record}) is None
