"""The composition root of the harvest function, the only one that ships Pillow."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.aws.blob_store import Encryption, S3BlobStore
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.queues import SqsHarvestQueue
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.jobs import build_job_updater
from replicate_proxy.bootstrap.secrets import load_output_key_secret
from replicate_proxy.bootstrap.tenants import build_cached_tenants
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pool import ImageWorkerPool
from replicate_proxy.images.task import ImageLimits
from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.net.session import GuardedSession
from replicate_proxy.outputs.fetch import DiskBudget, HostAllowlist, HttpFileFetcher
from replicate_proxy.outputs.file_harvester import FileHarvester
from replicate_proxy.outputs.file_metrics import log_file
from replicate_proxy.outputs.harvester import ParallelOutputHarvester
from replicate_proxy.outputs.settings import HarvestSettings
from replicate_proxy.outputs.storage import OutputFileStore, build_private_folder
from replicate_proxy.outputs.working_folder import create_working_folder
from replicate_proxy.services.harvest import JobHarvester
from replicate_proxy.services.reports import ReportLoader
from replicate_proxy.settings import (
    HARVEST_QUEUE_URL,
    IMAGE_FORMAT,
    IMAGE_QUALITY,
    IMAGE_WORKERS,
    IMAGES_BUCKET,
    KEEP_COPYRIGHT,
    KMS_KEY_ID,
    OUTPUT_HOSTS,
    OUTPUTS_BASE_URL,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_REDIRECTS = 3


@cache
def build_report_loader() -> ReportLoader:
    return ReportLoader(build_document_store())


@cache
def build_harvester() -> JobHarvester:
    return JobHarvester(
        updater=build_job_updater(),
        documents=build_document_store(),
        output_harvester=_build_output_harvester(),
        queue=SqsHarvestQueue(get_client("sqs"), env[HARVEST_QUEUE_URL]),
        clock=clock,
        checkpoint=checkpoint,
        default_image_options=_build_default_image_options(),
        choose_private_folder=_choose_private_folder,
    )


def _choose_private_folder(tenant: str, job_id: str) -> str:
    if not build_cached_tenants().get_current(tenant).private_outputs:
        return ""
    return build_private_folder(load_output_key_secret(), tenant, job_id)


def _build_default_image_options() -> Callable[[str], ImageOptions]:
    """Return a function from a tenant to its image options: the tenant's settings, or the deployment's."""
    tenants = build_cached_tenants()
    deployment_options = ImageOptions.parse(
        format=env[IMAGE_FORMAT] or None,
        quality=env[IMAGE_QUALITY] or None,
        defaults=ImageOptions(keep_copyright=env[KEEP_COPYRIGHT]),
    )

    def get_tenant_options(tenant: str) -> ImageOptions:
        images = tenants.get(tenant).images
        return ImageOptions.parse(format=images.format, quality=images.quality, defaults=deployment_options)

    return get_tenant_options


def _build_output_harvester() -> ParallelOutputHarvester:
    settings = HarvestSettings.from_env(env)
    # First, since this frees disk that the budget is to have.
    folder = create_working_folder()
    blobs = S3BlobStore(get_client("s3"), env[IMAGES_BUCKET], encryption=Encryption(env[KMS_KEY_ID]))
    limits = ImageLimits(max_file_bytes=settings.max_file_bytes)
    compressor = ImageWorkerPool(workers=env[IMAGE_WORKERS], limits=limits)
    # Starts while the first invocation acquires its job and fetches the files.
    compressor.start_worker()
    file_harvester = FileHarvester(
        fetcher=HttpFileFetcher(_build_session(), disk_budget=DiskBudget(settings.max_disk_bytes)),
        store=OutputFileStore(blobs, base_url=env[OUTPUTS_BASE_URL], secret=load_output_key_secret()),
        compressor=compressor,
        settings=settings,
        folder=folder,
    )
    return ParallelOutputHarvester(
        file_harvester=file_harvester, settings=settings, clock=clock, on_file_harvested=log_file
    )


def _build_session() -> GuardedSession:
    allow_loopback = env.local_settings().allow_loopback
    return GuardedSession(
        AddressPolicy(allow_loopback=allow_loopback),
        is_allowed_host=HostAllowlist(env[OUTPUT_HOSTS]),
        max_redirects=_MAX_REDIRECTS,
    )
