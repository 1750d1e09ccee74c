"""What the track function is made of."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import client
from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.bootstrap.documents import documents
from replicate_proxy.bootstrap.environment import checkpoint, env
from replicate_proxy.bootstrap.jobs import updater
from replicate_proxy.services.claim_check import ClaimCheck
from replicate_proxy.services.track import Track


@cache
def track() -> Track:
    return Track(
        updater=updater(),
        documents=documents(),
        claim_check=ClaimCheck(documents()),
        queue=SqsCommandQueue(client("sqs"), env.text("DISPATCH_QUEUE_URL")),
        checkpoint=checkpoint,
    )
