"""The composition root of the track function."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import checkpoint, env
from replicate_proxy.bootstrap.jobs import build_job_updater
from replicate_proxy.services.reports import ReportLoader
from replicate_proxy.services.track import Tracker
from replicate_proxy.settings import DISPATCH_QUEUE_URL


@cache
def build_report_loader() -> ReportLoader:
    return ReportLoader(build_document_store())


@cache
def build_tracker() -> Tracker:
    return Tracker(
        updater=build_job_updater(),
        documents=build_document_store(),
        queue=SqsCommandQueue(get_client("sqs"), env[DISPATCH_QUEUE_URL]),
        checkpoint=checkpoint,
    )
