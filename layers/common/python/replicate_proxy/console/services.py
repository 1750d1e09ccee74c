"""The services behind the console: those of the admin API, and of the API of tenants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicate_proxy.api.admin.routes import AdminServices
    from replicate_proxy.api.predictions.job_request_parser import JobRequestParser
    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.concurrency.ports import LineReader
    from replicate_proxy.ports import Clock, DocumentStore, JobStore
    from replicate_proxy.services.batch_reader import BatchReader
    from replicate_proxy.services.batch_results import BatchResults
    from replicate_proxy.services.cancel import JobCanceler
    from replicate_proxy.services.ingest import JobCreator
    from replicate_proxy.services.large_batches import LargeBatchService
    from replicate_proxy.services.queue_status import QueueStatusReader
    from replicate_proxy.services.rendering import PredictionRenderer
    from replicate_proxy.webhooks.endpoint_service import EndpointService
    from replicate_proxy.webhooks.ports import DeliveryStore
    from replicate_proxy.webhooks.redelivery import RedeliveryService


@dataclass(frozen=True, kw_only=True)
class ConsoleServices:
    """`images_url` is the base of the URLs of images that pages show; its host may begin with `*.`."""

    admin: AdminServices
    audit: AuditLog
    jobs: JobStore
    documents: DocumentStore
    renderer: PredictionRenderer
    parser: JobRequestParser
    creator: JobCreator
    canceler: JobCanceler
    batches: BatchReader
    lines: LineReader
    queue_status: QueueStatusReader
    large_batches: LargeBatchService
    results: BatchResults
    endpoints: EndpointService
    redelivery: RedeliveryService
    deliveries: DeliveryStore
    clock: Clock
    images_url: str
