"""Marked step boundaries: where a service says which step it has just done. Pure.

Nothing stands there but in the local stack, where `faults` can end the process at any of them, to prove that
every crash ends well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

type Checkpoint = Callable[[str], None]

CHECKPOINTS: Mapping[str, str] = {
    "ingest.key_claimed": "the idempotency key holds the job's id, and there is no job yet",
    "ingest.recorded": "the job is on record, and no message tells of it",
    "ingest.queued": "the job is queued, and the caller has no answer",
    "ingest.cancel_recorded": "the wish to cancel is on record, and no message tells of it",
    "dispatch.before_claim": "the message is taken, and the job is not claimed",
    "dispatch.claimed": "the job is claimed, and nothing was sent",
    "dispatch.created": "Replicate has created the prediction, and only this process knows",
    "dispatch.owned": "the prediction is marked as the job's, and the job does not know it",
    "dispatch.recorded": "the job knows its prediction, and the message is still there",
    "dispatch.settled": "a refusal or an unknown outcome is on record, and the message is still there",
    "dispatch.released": "the job is back in the queue by its record, and has no message",
    "dispatch.waiting": "the job is to wait for its turn, and has no message but the one in hand",
    "dispatch.parked": "a later message is sent, and the one in hand is still there",
    "dispatch.canceling": "Replicate is about to be asked to cancel",
    "dispatch.canceled": "Replicate has canceled, and the job does not know it",
    "webhook.verified": "the call is believed, and nothing is published",
    "webhook.published": "the event is on the bus, and Replicate has no answer",
    "track.before_change": "the report is read, and the job does not know it",
    "track.changed": "the job knows the report, and what follows from it is not queued",
    "track.told": "what follows is queued, and the message is still there",
    "harvest.lease_acquired": "the harvester holds the lease and has fetched nothing",
    "harvest.files_stored": "the files are stored and the job does not refer to them",
    "harvest.continuation_recorded": "another round is recorded and its message is not sent",
    "harvest.continuation_sent": "the message of another round is sent and the current one is not deleted",
    "harvest.finished": "the job is finished and the message is not deleted",
    "sweep.postponed": "the next look is on record, and this one has done nothing",
    "sweep.done": "this look has sent its message or event",
    "sweep.unknown": "a claim that ran out counts as unknown, and nobody has asked Replicate",
    "sweep.adopted": "the job has the prediction that was found, and nobody has asked how it is",
    "sweep.resent": "the job is to be sent again, and has no message",
    "sweep.handed_over": "due deliveries are queued, and count as due still",
    "notify.recorded": "deliveries are in the outbox, and nothing is sent",
    "notify.queued": "deliveries are queued, and the bus knows nothing",
    "notify.told": "everybody is told, and the stream is not acknowledged",
    "deliver.claimed": "the delivery is claimed, and the application has not heard",
    "deliver.posted": "the application has answered, and nobody knows",
    "deliver.attempted": "the attempt is on record, and the delivery is where it was",
    "deliver.finished": "the delivery has moved on, and the message is still there",
}
"""Every boundary, and what is done and not done there. A test holds the code to this list."""


def no_checkpoint(_: str) -> None:
    """The step is done; go on."""
