"""Store what a sample is about: a job in the status that the sample expects, and what belongs to it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests

from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.large_batch_store import DynamoLargeBatchStore
from replicate_proxy.batches.model import LargeBatch
from replicate_proxy.files.model import FILE_LIFETIME, StoredFile
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import (
    Batch,
    Document,
    Job,
    JobStatus,
    Submission,
    SubmissionKind,
    TimelineStep,
)
from replicate_proxy.webhooks.events import build_message_id
from replicate_proxy.webhooks.model import PREDICTION_TARGET, Delivery, EventKind, StoredEvent
from replicate_proxy.webhooks.settings import DeliverySettings
from tools.local.errors import LocalError
from tools.local.stack import Stack
from tools.simulator.settings import DEFAULT_TOKEN

_TIMEOUT_SECONDS = 30.0
_RETENTION = timedelta(days=1)
_FIRST_CHECK = timedelta(minutes=9)
"""Until then the deployed sweep leaves the job to the invoked function."""
_WITH_PREDICTION = frozenset({JobStatus.SUBMITTED, JobStatus.PROCESSING})
_OWNER, _NAME = "black-forest-labs", "flux-schnell"
_MODEL = f"{_OWNER}/{_NAME}"
_INPUT = {"prompt": "a lighthouse at dusk, oil painting"}
_BATCH_WAIT = timedelta(seconds=80)
"""Until then the deployed function leaves the batch to the invoked one."""


@dataclass(frozen=True)
class LocalPredictions:
    """Creates predictions of the local Replicate that no job of the stack has."""

    stack: Stack

    def run(self) -> dict[str, Any]:
        """Return a finished prediction with an image."""
        return self._call("POST", f"/v1/models/{_MODEL}/predictions", {"input": _INPUT}, prefer="wait")

    def hold(self) -> dict[str, Any]:
        """Return a prediction that runs until it is canceled."""
        body = {"version": self.get_version("local/lab"), "input": {"hold": True}}
        return self._call("POST", "/v1/predictions", body)

    def get(self, prediction_id: str) -> dict[str, Any]:
        return self._call("GET", f"/v1/predictions/{prediction_id}")

    def get_version(self, model: str) -> str:
        return str(self._call("GET", f"/v1/models/{model}")["latest_version"]["id"])

    def _call(self, method: str, path: str, body: Any = None, prefer: str = "") -> dict[str, Any]:
        if self.stack.upstream_url != self.stack.simulator_url:
            raise LocalError(
                "this sample needs a prediction of the local Replicate, and the stack uses "
                f"{self.stack.upstream_url}: run `make up` without REPLICATE_API_TOKEN and "
                "REPLICATE_API_BASE_URL"
            )
        headers = {"Authorization": f"Bearer {DEFAULT_TOKEN}", **({"Prefer": prefer} if prefer else {})}
        url = self.stack.simulator_url + path
        response = requests.request(method, url, headers=headers, json=body, timeout=_TIMEOUT_SECONDS)
        if not response.ok:
            raise LocalError(f"the local Replicate responded {response.status_code} to {method} {path}")
        content: dict[str, Any] = response.json()
        return content


class SampleRecords:
    """Writes records to the tables of a stack, as the pipeline writes them."""

    def __init__(self, stack: Stack, now: datetime) -> None:
        self._stack = stack
        self._now = now
        dynamodb = stack.get_client("dynamodb")
        self._jobs = DynamoJobStore(dynamodb, stack.outputs["JobsTableName"])
        self._deliveries = DynamoDeliveryStore(
            dynamodb, stack.outputs["DeliveriesTableName"], due_shards=DeliverySettings().due_shards
        )
        self._batches = DynamoLargeBatchStore(dynamodb, stack.outputs["JobsTableName"])

    def store_job(
        self, tenant: str, job_id: str, status: JobStatus, *, prediction_id: str, is_canceled: bool
    ) -> Job:
        """Store a job that its next check is far enough off not to touch. Its image is fictitious."""
        is_finished = status is JobStatus.SUCCEEDED
        job = Job(
            tenant=tenant,
            id=job_id,
            status=status,
            created_at=self._now,
            submission=Submission(SubmissionKind.MODEL, owner=_OWNER, name=_NAME),
            input=Document(text=json.dumps(_INPUT)),
            correlation_id="req-1",
            public_base_url=self._stack.api_url,
            revision=1,
            next_check_at=None if is_finished else self._now + _FIRST_CHECK,
            create_sent_at=self._now if status is JobStatus.SUBMIT_UNKNOWN else None,
            replicate_id=prediction_id or None if status in _WITH_PREDICTION else None,
            cancel_requested_at=self._now if is_canceled else None,
            model=_MODEL,
            version="hidden",
            completed_at=self._now if is_finished else None,
            output=Document(text=json.dumps([f"{self._stack.cdn_url}/sample.webp"])) if is_finished else None,
            timeline={TimelineStep.ACCEPTED: self._now},
            expires_at=int((self._now + _RETENTION).timestamp()),
        )
        self._jobs.create(job)
        return job

    def get_job(self, job: Job) -> Job | None:
        return self._jobs.get(job.tenant, job.id)

    def store_batch(self, tenant: str) -> Batch:
        """Store a large batch of two good lines, and its file, as they are before the worker begins."""
        lines = (json.dumps({"custom_id": name, "model": _MODEL, "input": _INPUT}) for name in ("a", "b"))
        content = "\n".join(lines).encode()
        file = StoredFile(
            id=generate_id(self._now),
            tenant=tenant,
            name="lines.jsonl",
            content_type="application/jsonl",
            created_at=self._now,
            expires_at=self._now + FILE_LIFETIME,
            size_bytes=len(content),
        )
        self._put_object(file.object_key, content)
        return self._batches.create(
            Batch(
                tenant=tenant,
                id=generate_id(self._now),
                created_at=self._now,
                public_base_url=self._stack.api_url,
                expires_at=int((self._now + _RETENTION).timestamp()),
                large=LargeBatch(
                    input_file=file.id,
                    object_key=file.object_key,
                    size_bytes=len(content),
                    key_id="key_sample",
                    models=(),
                    correlation_id="req-1",
                    due_at=self._now + _BATCH_WAIT,
                    delete_at=self._now + _RETENTION,
                ),
            )
        )

    def get_batch(self, batch: Batch) -> Batch | None:
        return self._batches.get(batch.tenant, batch.id)

    def store_delivery(self, job: Job, sequence: int, url: str) -> None:
        """Store the delivery of the job's end that no message of the queue names yet."""
        message_id = build_message_id(job.tenant, job.id, EventKind.COMPLETED, sequence)
        body = json.dumps({"id": job.id, "status": job.status, "input": _INPUT, "model": job.model})
        expires_at = int((self._now + _RETENTION).timestamp())
        self._deliveries.create_event(
            StoredEvent(
                tenant=job.tenant,
                job_id=job.id,
                sequence=sequence,
                kind=EventKind.COMPLETED,
                message_id=message_id,
                created_at=self._now,
                body=Document(text=json.dumps(body)),
                expires_at=expires_at,
            )
        )
        self._deliveries.create(
            Delivery(
                tenant=job.tenant,
                job_id=job.id,
                sequence=sequence,
                target=PREDICTION_TARGET,
                kind=EventKind.COMPLETED,
                message_id=message_id,
                url=url,
                created_at=self._now,
                schedule_started_at=self._now,
                next_attempt_at=self._now,
                due_at=self._now + _FIRST_CHECK,
                expires_at=expires_at,
                correlation_id=job.correlation_id,
            )
        )

    def store_report(self, key: str, prediction: Mapping[str, Any]) -> None:
        """Store a prediction that is too large for an event under its object key."""
        self._put_object(key, json.dumps(prediction).encode())

    def _put_object(self, key: str, body: bytes) -> None:
        bucket = self._stack.outputs["DataBucketName"]
        self._stack.get_client("s3").put_object(Bucket=bucket, Key=key, Body=body)
