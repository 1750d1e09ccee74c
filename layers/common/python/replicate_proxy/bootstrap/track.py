"""What the track function is made of."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.bootstrap.documents import document_store
from replicate_proxy.bootstrap.environment import checkpoint, env
from replicate_proxy.bootstrap.jobs import updater
from replicate_proxy.services.claim_check import ClaimCheck
from replicate_proxy.services.track import Track


@cache
def track() -> Track:
    return Track(
        updater=updater(),
        documents=document_store(),
        claim_check=ClaimCheck(document_store()),
        queue=SqsCommandQueue(get_client("sqs"), env.text("DISPATCH_QUEUE_URL")),
        checkpoint=checkpoint,
    )
