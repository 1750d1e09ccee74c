"""Stream records and queue messages, read strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.aws.dynamodb import to_item
from replicate_proxy.aws.job_records import record_from_job
from replicate_proxy.aws.job_stream import job_change_from_stream_record
from replicate_proxy.errors import PermanentError
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.model import PREDICTION_TARGET, build_receiver_id
from tests.support.webhook_builders import as_succeeded, make_job


def test_a_save_is_a_change_from_the_old_job_to_the_new() -> None:
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


def test_a_new_job_has_no_old_one() -> None:
    record = {
        "dynamodb": {"Keys": {"sk": {"S": "JOB"}}, "NewImage": to_item(record_from_job(make_job()))},
    }
    change = job_change_from_stream_record(record)
    assert change is not None
    assert (change.old, change.new) == (None, make_job())


@pytest.mark.parametrize(
    "data",
    [
        {"Keys": {"sk": {"S": "JOB"}}, "OldImage": {}},
        {"Keys": {"sk": {"S": "IDEM"}}, "NewImage": {"pk": {"S": "x"}}},
    ],
)
def test_removals_and_other_records_are_no_changes(data: dict[str, object]) -> None:
    assert job_change_from_stream_record({"dynamodb": data}) is None


@given(st.text(), st.text(), st.integers(0, 10**9), st.text())
def test_a_command_survives_the_queue(tenant: str, job_id: str, sequence: int, target: str) -> None:
    command = DeliverCommand(tenant=tenant, job_id=job_id, sequence=sequence, target=target, receiver_id="l")
    assert DeliverCommand.from_json(command.to_json()) == command


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"tenant":"a","job_id":"b","sequence":"x","target":"c"}']
)
def test_anything_else_is_no_command(text: str) -> None:
    with pytest.raises(PermanentError):
        DeliverCommand.from_json(text)


def test_lanes_are_endpoints_and_hosts() -> None:
    assert build_receiver_id("ep_1", "https://a.example/x") == "ep_1"
    assert build_receiver_id(PREDICTION_TARGET, "https://A.example/x") == build_receiver_id(
        PREDICTION_TARGET, "https://a.example/y"
    )
    assert build_receiver_id(PREDICTION_TARGET, "https://a.example/") != build_receiver_id(
        PREDICTION_TARGET, "https://b.example/"
    )
