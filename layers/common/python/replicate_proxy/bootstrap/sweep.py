"""What the sweep is made of: looks at jobs, and the hand-over of due deliveries."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.aws.queues import SqsCommandQueue, SqsHarvestQueue
from replicate_proxy.bootstrap.delivery import due_deliveries as deliveries
from replicate_proxy.bootstrap.documents import document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.jobs import store, timeouts, updater
from replicate_proxy.bootstrap.replicate import prediction_reader
from replicate_proxy.bootstrap.secrets import root_secret
from replicate_proxy.replicate_api.callback_url import WebhookUrls
from replicate_proxy.services.claim_check import ClaimCheck
from replicate_proxy.services.harvest import build_continuation_event
from replicate_proxy.services.reconcile import Reconciler
from replicate_proxy.services.resolve_submission import SubmissionResolver
from replicate_proxy.services.sweep import Sweep

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job

__all__ = ["clock", "deliveries", "sweep"]


@cache
def sweep() -> Sweep:
    queue = SqsCommandQueue(get_client("sqs"), env.text("DISPATCH_QUEUE_URL"))
    harvests = SqsHarvestQueue(get_client("sqs"), env.text("HARVEST_QUEUE_URL"))

    def resume_harvest(job: Job) -> None:
        harvests.send(build_continuation_event(job, clock.now()), tenant=job.tenant)

    looks = Reconciler(
        updater=updater(),
        documents=document_store(),
        queue=queue,
        bus=EventBridgeBus(get_client("events"), env.text("EVENT_BUS")),
        claim_check=ClaimCheck(document_store()),
        reader=prediction_reader(),
        resolver=SubmissionResolver(
            updater=updater(),
            store=store(),
            documents=document_store(),
            queue=queue,
            lister=prediction_reader(),
            urls=WebhookUrls(env.text("WEBHOOK_BASE_URL", ""), root_secret()),
            clock=clock,
            timeouts=timeouts(),
            checkpoint=checkpoint,
        ),
        resume_harvest=resume_harvest,
        clock=clock,
        timeouts=timeouts(),
        checkpoint=checkpoint,
    )
    return Sweep(
        store=store(),
        looks=looks.handlers_by_status(),
        clock=clock,
        sleep=time.sleep,
        linger_seconds=env.number("SWEEP_DURATION_SECONDS", 0),
    )
