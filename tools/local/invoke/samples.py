"""Prepare a sample event, so that the invoked function finds in the stack what the sample is about."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from replicate_proxy.clock import SystemClock
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import Batch, Job, JobStatus
from tools.local.configuration import SECRET_PARAMETER
from tools.local.invoke.sample_records import LocalPredictions, SampleRecords
from tools.local.invoke.sample_values import (
    SAMPLE_FILE,
    SAMPLE_JOB,
    SAMPLE_KEY,
    SAMPLE_PREDICTION,
    SAMPLE_TENANT,
    SAMPLE_VERSION,
    SAMPLE_WEBHOOK,
    SampleValues,
    fill_in,
)
from tools.local.stack import Stack

MAIN_SAMPLES: Mapping[str, str] = {
    "admin": "create_key",
    "authorize": "api_key",
    "batch": "work",
    "catalog": "get_model",
    "console": "sign_in_page",
    "deliver": "delivery",
    "dispatch": "submit",
    "endpoints": "create",
    "files": "create",
    "harvest": "completed",
    "ingest": "create",
    "notify": "job_succeeded",
    "query": "get",
    "sweep": "schedule",
    "track": "progressed",
    "usage": "job_succeeded",
    "webhook": "completed",
}
"""For each function the sample that shows its main work."""

SWEEP_CLOCK_OFFSET_SECONDS = 600.0
"""How far the clock of an invoked sweep is ahead: a job is overdue for it and not for the deployed sweep."""

BATCH_CLOCK_OFFSET_SECONDS = 90.0
"""The same for the batch function, for which the stored batch is due."""

_JOB_STATUSES: Mapping[str, JobStatus] = {
    "deliver": JobStatus.SUCCEEDED,
    "dispatch": JobStatus.QUEUED,
    "dispatch/cancel": JobStatus.PROCESSING,
    "endpoints": JobStatus.SUCCEEDED,
    "harvest": JobStatus.PROCESSING,
    "ingest": JobStatus.PROCESSING,
    "query": JobStatus.SUCCEEDED,
    "sweep": JobStatus.QUEUED,
    "track": JobStatus.SUBMITTED,
    "track/started": JobStatus.SUBMIT_UNKNOWN,
    "webhook": JobStatus.SUBMITTED,
}
"""The status in which a sample, or any other sample of its function, expects its job."""

_JOBS_WITHOUT_NAME = ("query/list", "sweep/schedule")
_CANCELED_JOBS = ("dispatch/cancel",)
_RUNNING_JOBS = ("dispatch/cancel", "ingest/cancel")
_SAMPLES_WITH_DELIVERY = ("deliver/delivery", "endpoints/list_deliveries_of_prediction")
# An endpoint has a webhook of its own, and usage sends none.
_FUNCTIONS_WITHOUT_RECEIVER = ("endpoints", "usage")
# An endpoint would stay when this command has ended, and a tenant may have only a few.
_SAMPLES_WITH_OWN_TENANT = ("endpoints/create",)
_VERSIONED_MODELS = {"catalog": "replicate/hello-world", "ingest": "stability-ai/sdxl"}
_DELIVERY_SEQUENCE = 19  # as in the sample
_OBJECT_KEY = re.compile(r"events/[^\"\\]+\.json")


@dataclass
class PreparedSample:
    """The event to pass to the function, and what was prepared for it.

    `job` and `batch` are what was stored, `waits_for_webhook` is whether a webhook comes to this command's
    receiver.
    """

    event: str
    job: Job | None = None
    batch: Batch | None = None
    waits_for_webhook: bool = False
    clock_offset_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


class SamplePreparer:
    """Prepares samples for one stack. `receiver_url` is where this command receives webhooks."""

    def __init__(self, stack: Stack, receiver_url: str) -> None:
        self._stack = stack
        self._receiver_url = receiver_url
        self._now = SystemClock().now()
        self._records = SampleRecords(stack, self._now)
        self._predictions = LocalPredictions(stack)

    def prepare(self, sample: str, text: str) -> PreparedSample:
        """Store what the sample (`<function>/<name>`) needs, and return the event with the stack's values.

        Raises `LocalError` if it needs the local Replicate and the stack uses another one.
        """
        function = sample.partition("/")[0]
        prepared = PreparedSample(text)
        values = self._choose_values(sample, text, prepared.notes)
        has_job = SAMPLE_JOB in text or sample in _JOBS_WITHOUT_NAME
        status = _JOB_STATUSES.get(sample, _JOB_STATUSES.get(function))
        if has_job and status is not None:
            prepared.job = self._store_job(sample, values, status, prepared.notes)
        prepared.event = fill_in(text, values)
        if function == "harvest" and (key := _OBJECT_KEY.search(prepared.event)):
            prediction = self._predictions.get(values.prediction_id)
            self._records.store_report(key[0], prediction)
            prepared.notes.append("stored the prediction under the object key that the event names")
        if function == "sweep":
            prepared.clock_offset_seconds = SWEEP_CLOCK_OFFSET_SECONDS
            prepared.notes.append("the function's clock is ten minutes ahead, so that the job is overdue")
        if function == "batch":
            prepared.batch = self._records.store_batch(values.tenant)
            prepared.clock_offset_seconds = BATCH_CLOCK_OFFSET_SECONDS
            prepared.notes.append(f"stored batch {prepared.batch.id} of two lines, with its input file")
            prepared.notes.append("the function's clock is 90 s ahead, so that the batch is due")
        prepared.waits_for_webhook = bool(values.webhook_url) or sample == "deliver/delivery"
        return prepared

    def find_job(self, job: Job) -> Job | None:
        """Return the job as it is now."""
        return self._records.get_job(job)

    def find_batch(self, batch: Batch) -> Batch | None:
        """Return the batch as it is now."""
        return self._records.get_batch(batch)

    def _choose_values(self, sample: str, text: str, notes: list[str]) -> SampleValues:
        """Return the values for the sample; predictions and versions only if the sample names any."""
        function = sample.partition("/")[0]
        tenant, prediction_id, file_url, version, webhook_url = SAMPLE_TENANT, "", "", "", ""
        if sample in _SAMPLES_WITH_OWN_TENANT:
            tenant = f"{SAMPLE_TENANT}-{secrets.token_hex(4)}"
            notes.append(f"put in the new tenant {tenant}, which has no endpoints yet")
        if SAMPLE_PREDICTION in text or sample in _RUNNING_JOBS or SAMPLE_FILE.search(text):
            is_running = sample in _RUNNING_JOBS
            prediction = self._predictions.hold() if is_running else self._predictions.run()
            prediction_id, file_url = prediction["id"], (prediction["output"] or [""])[0]
            notes.append(f"created prediction {prediction_id} on the local Replicate: {prediction['status']}")
        if SAMPLE_VERSION in text and function in _VERSIONED_MODELS:
            model = _VERSIONED_MODELS[function]
            version = self._predictions.get_version(model)
            notes.append(f"put in the local Replicate's version of {model}")
        if SAMPLE_WEBHOOK.search(text) and function not in _FUNCTIONS_WITHOUT_RECEIVER:
            webhook_url = self._receiver_url
            notes.append(f"put in {webhook_url}, where this command receives the webhook")
        if SAMPLE_KEY in text:
            notes.append("put in the stack's API key")
        if function == "webhook":
            notes.append("signed with the stack's secrets what the sample signs validly, and now")
        return SampleValues(
            now=self._now,
            tenant=tenant,
            job_id=generate_id(self._now),
            prediction_id=prediction_id,
            file_url=file_url,
            version=version,
            webhook_url=webhook_url,
            api_key=self._stack.api_key,
            webhook_secret=self._stack.get_parameter(SECRET_PARAMETER),
            root_secret=self._stack.get_root_secret().encode(),
        )

    def _store_job(self, sample: str, values: SampleValues, status: JobStatus, notes: list[str]) -> Job:
        job = self._records.store_job(
            values.tenant,
            values.job_id,
            status,
            prediction_id=values.prediction_id,
            is_canceled=sample in _CANCELED_JOBS,
        )
        notes.append(f"stored job {job.id} of tenant {job.tenant}: {job.status}")
        if sample in _SAMPLES_WITH_DELIVERY:
            self._records.store_delivery(job, _DELIVERY_SEQUENCE, self._receiver_url)
            notes.append(
                f"stored its webhook delivery to {self._receiver_url}, where this command receives it"
            )
        return job
