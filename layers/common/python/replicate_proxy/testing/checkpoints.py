"""Checkpoints: named points between two steps of a service, for fault injection. No I/O.

In the local stack, `testing.fault_injection` can end the process at any checkpoint, to prove that every crash
is recovered from. Everywhere else, a checkpoint does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

type Checkpoint = Callable[[str], None]

# Each name with what is done and what is not. `<function>.<step>`: the function, and the step that is done
# (or about to be done, after "before"). A test compares the names with the calls in the code.
CHECKPOINTS: Mapping[str, str] = {
    "ingest.idempotency_key_claimed": "the idempotency key holds the job's ID; the job is not stored",
    "ingest.job_stored": "the job is stored; its message is not sent",
    "ingest.job_enqueued": "the job's message is sent; the caller has no response",
    "ingest.cancel_request_stored": "the cancel request is stored; its message is not sent",
    "ingest.deletion_stored": "the deletion is in place of the job; the caller has no response",
    "ingest.batch_stored": "a large batch is stored; its worker is not started",
    "ingest.batch_cancel_stored": "the cancel of a large batch is stored; its worker is not started",
    "batch.lines_stored": "what is known about a slice of lines is stored; its jobs are not",
    "batch.jobs_stored": "the jobs of a slice and the progress of the batch are stored; none is enqueued",
    "batch.jobs_enqueued": "the jobs of a slice are enqueued; the batch does not show it",
    "batch.slice_saved": "the batch shows that the jobs of a slice are enqueued; the next is not begun",
    "batch.part_written": "a part of the results is written; the progress of the batch does not show it",
    "batch.webhook_stored": "the webhook of the batch is stored; the batch does not show that it is done",
    "batch.objects_removed": "the objects of a batch are removed; its rows are not",
    "dispatch.before_claim": "the message is received; the job is not claimed",
    "dispatch.job_claimed": "the job is claimed; the create request is not sent",
    "dispatch.prediction_created": "Replicate has created the prediction; nothing is stored about it",
    "dispatch.prediction_claimed": "the prediction is claimed for the job; the job does not name it",
    "dispatch.acceptance_stored": "the job names its prediction; the message is not deleted",
    "dispatch.failure_stored": "a rejection, unknown outcome or fallback is stored; the message still exists",
    "dispatch.job_released": "the job is queued again; its message is not sent",
    "dispatch.check_postponed": "the job's next check is postponed; its delayed message is not sent",
    "dispatch.job_requeued": "the job's delayed message is sent; the received message is not deleted",
    "dispatch.before_cancel": "the cancel command is received; Replicate is not asked to cancel",
    "dispatch.prediction_canceled": "Replicate has canceled the prediction; the job does not show it",
    "webhook.request_verified": "the webhook is verified; its event is not published",
    "webhook.event_published": "the webhook's event is published; Replicate has no response",
    "track.before_change": "the report is read; the job does not show it",
    "track.change_stored": "the report is applied; the commands that follow from it are not sent",
    "track.commands_sent": "the commands are sent; the message is not deleted",
    "harvest.lease_acquired": "the harvester has its lease; no file is fetched",
    "harvest.files_stored": "the files are stored; the job does not name them",
    "harvest.continuation_stored": "the job waits for a continuation; its message is not sent",
    "harvest.continuation_sent": "the continuation's message is sent; the received message is not deleted",
    "harvest.result_stored": "the job is finished; the message is not deleted",
    "sweep.next_check_stored": "the next check is scheduled; this check has done nothing else",
    "sweep.message_sent": "the check has sent its message or event",
    "sweep.unknown_outcome_stored": "an expired claim counts as an unknown outcome; Replicate is not asked",
    "sweep.acceptance_stored": "the job names the prediction that was found; its next check is not due yet",
    "sweep.resubmission_stored": "the job is queued for a new attempt; its message is not sent",
    "sweep.deliveries_enqueued": "due deliveries are enqueued; their records still show them as due",
    "sweep.expired_job_marked": "a deletion is in place of the expired job; nothing of the job is removed",
    "sweep.objects_removed": "the objects of a deleted job are removed; its deliveries are not",
    "sweep.deliveries_removed": "its deliveries are removed; the record of the deletion is unchanged",
    "notify.deliveries_stored": "deliveries are stored; none is enqueued",
    "notify.deliveries_enqueued": "deliveries are enqueued; the events are not published",
    "notify.events_published": "the events are published; the stream record is not acknowledged",
    "deliver.delivery_claimed": "the delivery is claimed; the request is not sent",
    "deliver.request_sent": "the application has responded; the attempt is not stored",
    "deliver.attempt_stored": "the attempt is stored; the delivery's record is unchanged",
    "admin.bulk_slice_done": "jobs of a bulk operation are acted on; its progress does not show it",
    "admin.bulk_slice_saved": "the progress of a bulk operation is saved; the next slice is not begun",
    "admin.erasure_page_counted": "a page of an erasure is counted; what it names is not removed",
    "admin.erasure_page_removed": "a page of an erasure is removed; its progress does not show it",
    "admin.erasure_settings_removed": "the settings of a tenant are removed; its rows and objects are not",
    "admin.erasure_unblocked": "the mark of a tenant is removed; that of its erasure is not",
    "deliver.result_stored": "the delivery's record is updated; the message is not deleted",
}


def no_checkpoint(_: str) -> None:
    """Do nothing."""
