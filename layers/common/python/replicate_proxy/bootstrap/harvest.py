"""What the harvest function is made of; the only function that ships Pillow."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.auth.tenants import CachedTenants
from replicate_proxy.aws.blob_store import Encryption, S3BlobStore
from replicate_proxy.aws.clients import client
from replicate_proxy.aws.queues import SqsHarvestMessages
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from replicate_proxy.bootstrap.documents import documents
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.jobs import updater
from replicate_proxy.bootstrap.secrets import output_key_secret
from replicate_proxy.config import local_settings
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pool import ImagePool
from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.net.session import GuardedSession
from replicate_proxy.outputs.fetch import DEFAULT_HOSTS, HostList, HttpFetcher, SpoolBudget
from replicate_proxy.outputs.file_harvester import SingleFile
from replicate_proxy.outputs.harvester import OutputHarvester, tell
from replicate_proxy.outputs.settings import HarvestSettings
from replicate_proxy.outputs.storage import OutputStore
from replicate_proxy.services.claim_check import ClaimCheck
from replicate_proxy.services.harvest import Harvest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["clock", "harvest"]

_REDIRECTS = 3


@cache
def harvest() -> Harvest:
    return Harvest(
        updater=updater(),
        documents=documents(),
        claim_check=ClaimCheck(documents()),
        outputs=_outputs(),
        messages=SqsHarvestMessages(client("sqs"), env.text("HARVEST_QUEUE_URL")),
        clock=clock,
        checkpoint=checkpoint,
        defaults=_image_defaults(),
    )


def _image_defaults() -> Callable[[str], ImageOptions]:
    """A tenant's own wishes over the deployment's."""
    tenants = CachedTenants(DynamoTenantStore(client("dynamodb"), env.text("ACCESS_TABLE")), clock)
    deployment = ImageOptions.from_texts(
        format=env.text("IMAGE_FORMAT", "") or None,
        quality=env.text("IMAGE_QUALITY", "") or None,
        base=ImageOptions(keep_copyright=env.flag("KEEP_COPYRIGHT")),
    )

    def defaults(tenant: str) -> ImageOptions:
        images = tenants.get(tenant).images
        return ImageOptions.from_texts(format=images.format, quality=images.quality, base=deployment)

    return defaults


def _outputs() -> OutputHarvester:
    settings = HarvestSettings.from_env(env)
    bucket = S3BlobStore(
        client("s3"), env.text("IMAGES_BUCKET"), encryption=Encryption(env.text("KMS_KEY_ID", ""))
    )
    images = ImagePool(workers=env.integer("IMAGE_WORKERS", 1))
    images.warm()
    single = SingleFile(
        fetcher=HttpFetcher(_session(), budget=SpoolBudget(settings.spool_bytes)),
        store=OutputStore(bucket, base_url=env.text("OUTPUTS_BASE_URL"), secret=output_key_secret()),
        images=images,
        settings=settings,
    )
    return OutputHarvester(single=single, settings=settings, clock=clock, observe=tell)


def _session() -> GuardedSession:
    allow_loopback = bool(local_settings(os.environ).get("allow_loopback"))
    return GuardedSession(
        AddressPolicy(allow_loopback=allow_loopback),
        allowed_hosts=HostList(env.names("OUTPUT_HOSTS", ",".join(DEFAULT_HOSTS))),
        max_redirects=_REDIRECTS,
    )
