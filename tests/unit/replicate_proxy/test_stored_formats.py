"""Records and messages as the first version writes them: every later version reads and finishes them.

A deployment replaces the functions while jobs are under way. So these samples stay as they are: an attribute
that is added has a default, and one that is here is never needed under another name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest

from replicate_proxy.aws.account_store import DynamoAccountStore
from replicate_proxy.aws.audit_store import DynamoAuditStore
from replicate_proxy.aws.batch_store import batch_from_record, record_from_batch
from replicate_proxy.aws.deletion_records import deletion_from_record, record_from_deletion
from replicate_proxy.aws.delivery_records import (
    delivery_from_record,
    event_from_record,
    record_from_delivery,
    record_from_event,
)
from replicate_proxy.aws.dynamodb import to_item
from replicate_proxy.aws.file_store import DynamoFileStore
from replicate_proxy.aws.job_records import job_from_record, record_from_job
from replicate_proxy.aws.key_store import key_from_record, record_from_key
from replicate_proxy.aws.large_batch_records import large_batch_from_text, text_from_large_batch
from replicate_proxy.aws.pause_store import DynamoPauseStore
from replicate_proxy.aws.versioned_document import Version, VersionedDocument
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.model_entries.document import decode_entries
from replicate_proxy.webhooks.commands import DeliverCommand
from tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

JOB_ID = "01kg9p6je0hmrb3gncnng6q4dp"
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
QUEUED_JOB: dict[str, Any] = {
    "pk": f"JOB#acme#{JOB_ID}",
    "sk": "JOB",
    "tenant": "acme",
    "id": JOB_ID,
    "status": "queued",
    "revision": 1,
    "attempt": 1,
    "created_at": "2026-01-31T09:30:00.000Z",
    "submission": {"kind": "predictions", "version": VERSION},
    "input": {"text": '{"prompt":"a cat"}'},
    "correlation_id": "c-1",
    "public_base_url": "https://api.proxy.test/prod",
    "timeline": {"accepted": "2026-01-31T09:30:00.000Z"},
    "next_check_at": "2026-01-31T09:32:00.000Z",
    "due_shard": "DUE#1",
    "expires_at": 1772443800,
}
RUNNING_JOB: dict[str, Any] = {
    **QUEUED_JOB,
    "status": "processing",
    "revision": 4,
    "replicate_id": "p1",
    "create_sent_at": "2026-01-31T09:30:00.100Z",
    "timeline": {"accepted": "2026-01-31T09:30:00.000Z", "submitted": "2026-01-31T09:30:00.300Z"},
}
DELETED_JOB: dict[str, Any] = {
    "pk": f"JOB#acme#{JOB_ID}",
    "sk": "JOB",
    "status": "deleted",
    "revision": 5,
    "requested_at": "2026-01-31T09:30:00.000Z",
    "final_at": "2026-02-01T10:30:00.000Z",
    "next_check_at": "2026-01-31T09:30:00.000Z",
    "due_shard": "DELETE#1",
    "deletes_files": True,
    "predictions": ["p1"],
    "lines": ["tenant/acme"],
}
BATCH: dict[str, Any] = {
    "pk": f"BATCH#acme#{JOB_ID}",
    "sk": "BATCH",
    "tenant": "BATCHES#acme",
    "id": JOB_ID,
    "list_name": "BATCHES",
    "created_at": "2026-01-31T09:30:00.000Z",
    "public_base_url": "https://api.proxy.test/prod",
    "job_ids": ["01kg9p6je0hmrb3gncnng6q4dq"],
    "expires_at": 1772443800,
}
LARGE_BATCH: dict[str, Any] = {
    "input_file": "01kg9p6je0hmrb3gncnng6q4dr",
    "object_key": "files/acme/01kg9p6je0hmrb3gncnng6q4dr",
    "size_bytes": 2945,
    "key_id": "k1",
    "models": [],
    "correlation_id": "c-1",
    "due_at": "2026-01-31T09:31:00.000Z",
    "delete_at": "2026-03-02T09:30:00.000Z",
    "webhook": "https://app.test/hooks",
    "metadata": {},
    "phase": "running",
    "position": 2945,
    "line_objects": ["8ddcb419"],
    "lines": 40,
    "created": 39,
    "rejected": 1,
    "skipped": 0,
    "sent_slice": 1,
    "cancel_slice": 0,
    "result_slice": 0,
    "result_parts": [],
    "interruptions": 0,
}
EVENT: dict[str, Any] = {
    "pk": f"JOB#acme#{JOB_ID}",
    "sk": "EVENT#000000000016",
    "tenant": "acme",
    "job_id": JOB_ID,
    "sequence": 16,
    "kind": "start",
    "message_id": "msg_c92490ea455e95da",
    "created_at": "2026-01-31T09:30:00.000Z",
    "body_text": '"{}"',
    "expires_at": 1772443800,
}
DELIVERY: dict[str, Any] = {
    "pk": f"JOB#acme#{JOB_ID}",
    "sk": "DELIVERY#ep_1#000000000016",
    "target_key": "DELIVERY#ep_1#acme",
    "at": "2026-01-31T09:30:00.000Z",
    "kind": "start",
    "status": "pending",
    "last_result": "rejected",
    "tenant": "acme",
    "job_id": JOB_ID,
    "sequence": 16,
    "target": "ep_1",
    "message_id": "msg_c92490ea455e95da",
    "expires_at": 1772443800,
    "schedule_attempts": 4,
    "total_attempts": 4,
    "correlation_id": "c-1",
    "revision": 10,
    "created_at": "2026-01-31T09:30:00.000Z",
    "next_attempt_at": "2026-01-31T12:00:00.000Z",
    "due_at": "2026-01-31T12:00:00.000Z",
    "due_shard": "DUE#0",
    "schedule_started_at": "2026-01-31T09:30:00.000Z",
}
KEY: dict[str, Any] = {
    "pk": "KEYS",
    "sk": "KEY#2qoo4epmnsu2",
    "id": "2qoo4epmnsu2",
    "tenant": "acme",
    "digest": "47981ab6fa316e1d",
    "created_at": "2026-01-31T09:30:00.000Z",
    "name": "first application",
    "scopes": ["predictions:read", "predictions:write"],
    "allowed_ips": [],
    "allowed_models": [],
    "previous_digests": [{"digest": "5d41402abc4b2a76", "expires_at": "2026-02-01T09:30:00.000Z"}],
    "revision": 0,
}
PREDICTION = {
    "id": "p1",
    "model": "acme/model",
    "version": VERSION,
    "status": "succeeded",
    "input": {"prompt": "a cat"},
    "output": ["https://replicate.delivery/out-0.png"],
    "error": None,
    "logs": "",
    "metrics": {},
    "created_at": "2026-01-31T09:30:00.200Z",
    "completed_at": "2026-01-31T09:30:00.900Z",
}
REPORT = {
    "detail": {
        "metadata": {"event_version": 1, "correlation_id": "c-1"},
        "data": {
            "tenant": "acme",
            "job_id": JOB_ID,
            "attempt": 1,
            "status": "succeeded",
            "channel": "webhook",
            "received_at": "2026-01-31T09:30:01.000Z",
            "prediction": PREDICTION,
        },
    }
}


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def test_queued_job_is_submitted_by_its_message(pipeline: Pipeline) -> None:
    job = pipeline.store.put(job_from_record(QUEUED_JOB))
    message = json.dumps({"kind": "submit", "tenant": "acme", "job_id": JOB_ID})

    pipeline.dispatcher.handle_command(DispatchCommand.from_json(message))

    assert pipeline.get_job(job).status is JobStatus.SUBMITTED


def test_running_job_is_finished_by_its_report(pipeline: Pipeline) -> None:
    job = pipeline.store.put(job_from_record(RUNNING_JOB))
    report = pipeline.report_loader.load(PredictionReport.from_queue_message(json.dumps(REPORT)))

    finished = pipeline.harvester.harvest_job(report, pipeline.clock.now())

    assert finished.status is JobStatus.SUCCEEDED
    assert pipeline.get_job(job) == finished


def test_running_job_is_finished_by_the_sweep(pipeline: Pipeline) -> None:
    job = pipeline.store.put(job_from_record(RUNNING_JOB))
    pipeline.replicate.predictions["p1"] = dict(PREDICTION)

    pipeline.pass_time(600)

    assert pipeline.get_job(job).status is JobStatus.SUCCEEDED


def test_deliver_message_is_read() -> None:
    fields = {"tenant": "acme", "job_id": JOB_ID, "sequence": 16, "target": "prediction"}

    assert DeliverCommand.from_json(json.dumps(fields)).sequence == 16


@pytest.mark.parametrize(
    ("sample", "rewrite"),
    [
        (QUEUED_JOB, lambda record: record_from_job(job_from_record(record))),
        (RUNNING_JOB, lambda record: record_from_job(job_from_record(record))),
        (DELETED_JOB, lambda record: record_from_deletion(deletion_from_record(record), revision=5)),
        (BATCH, lambda record: record_from_batch(batch_from_record(record))),
        (
            LARGE_BATCH,
            lambda large: json.loads(text_from_large_batch(large_batch_from_text(json.dumps(large)))),
        ),
        (EVENT, lambda record: record_from_event(event_from_record(record))),
        (DELIVERY, lambda record: record_from_delivery(delivery_from_record(record), due_shards=1)),
        (KEY, lambda record: record_from_key(key_from_record(record))),
    ],
    ids=["queued", "running", "deleted", "batch", "large_batch", "event", "delivery", "key"],
)
def test_record_is_written_with_the_attributes_that_it_was_read_from(
    sample: dict[str, Any], rewrite: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    written = rewrite(sample)

    assert {name: written[name] for name in sample} == sample


def test_deletion_names_the_limits_of_its_job() -> None:
    assert deletion_from_record(DELETED_JOB).limits == ("tenant/acme",)


def test_deletion_of_a_version_without_limits_is_read() -> None:
    record = {name: value for name, value in DELETED_JOB.items() if name != "lines"}

    assert deletion_from_record(record).limits == ()


def test_attributes_and_fields_of_a_later_version_are_ignored() -> None:
    assert job_from_record({**QUEUED_JOB, "added_later": {"x": 1}}) == job_from_record(QUEUED_JOB)
    message = {"kind": "submit", "tenant": "acme", "job_id": JOB_ID, "added_later": 1}
    assert DispatchCommand.from_json(json.dumps(message)).kind is DispatchKind.SUBMIT


LATER: dict[str, Any] = {"added_later": 1}
COST = {"micro_usd": 3000, "basis": "1 image"}
ATTEMPT = {"attempt": 1, "outcome": "failed", "error": "CUDA", "ended_at": "2026-01-31T09:30:00.500Z"}
WAITING = {"reason": "operator_pause"}


@pytest.mark.parametrize(
    ("fields", "with_later"),
    [
        ({"cost": COST}, {"cost": COST | LATER}),
        ({"waiting": WAITING}, {"waiting": WAITING | LATER}),
        (
            {"past_attempts": [ATTEMPT | {"cost": COST}]},
            {"past_attempts": [ATTEMPT | {"cost": COST | LATER} | LATER]},
        ),
    ],
    ids=["cost", "waiting", "past_attempts"],
)
def test_fields_of_a_later_version_inside_a_job_are_ignored(
    fields: dict[str, Any], with_later: dict[str, Any]
) -> None:
    assert job_from_record(QUEUED_JOB | with_later) == job_from_record(QUEUED_JOB | fields)


def test_model_entries_of_a_later_version_are_read() -> None:
    """Every create reads all of them."""
    fallback = {"target": "acme/second"}
    entry = {"name": "acme/fast", "target": "acme/first"}
    later = entry | LATER | {"fallbacks": [fallback | LATER]}

    assert decode_entries(json.dumps([later])) == decode_entries(
        json.dumps([entry | {"fallbacks": [fallback]}])
    )


def test_pauses_and_accounts_of_a_later_version_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every create and every dispatch read them."""

    def store(document: dict[str, Any]) -> None:
        monkeypatch.setattr(VersionedDocument, "read", lambda _: Version(json.dumps(document), 1))

    since = "2026-01-31T09:30:00.000Z"
    store({"acme": {"mode": "hold", "since": since, **LATER}})
    assert DynamoPauseStore(MagicMock()).read()["acme"].since == since

    current = {"name": "acme-inc", "since": since, "last_characters": "abcd", **LATER}
    store({"acme": {"current": current, "retired": [{"name": "old", "retired_at": since, **LATER}], **LATER}})
    accounts = DynamoAccountStore(MagicMock()).read()["acme"]
    assert accounts.has("acme-inc")
    assert accounts.has("old")


def test_upload_of_a_later_version_is_read() -> None:
    record = {
        "id": "f1",
        "tenant": "acme",
        "name": "photo.png",
        "content_type": "image/png",
        "created_at": "2026-01-31T09:30:00.000Z",
        "valid_until": "2026-02-01T09:30:00.000Z",
        "checksums": {},
        "metadata": "{}",
        "multipart": {"id": "u1", "size_bytes": 10, "part_bytes": 5, **LATER},
        **LATER,
    }
    client = MagicMock()
    client.batch_get_item.return_value = {"Responses": {"access": [to_item(record)]}}

    file = DynamoFileStore(client, "access").get("acme", "f1")

    assert file is not None
    assert file.multipart is not None
    assert file.multipart.id == "u1"


def test_intent_of_a_change_by_a_later_version_is_read() -> None:
    names = ("id", "started_at", "action", "target", "key_id", "key_name", "source", "correlation_id")
    intent = dict.fromkeys((*names, "parameters", "before"), "x") | {"tenant": None} | LATER
    client = MagicMock()
    client.query.return_value = {"Items": [to_item({"intent": json.dumps(intent)})]}

    (read,) = DynamoAuditStore(client, "audit").list_abandoned(before="2026-01-31T09:30:00.000Z", limit=1)

    assert read.action == "x"
