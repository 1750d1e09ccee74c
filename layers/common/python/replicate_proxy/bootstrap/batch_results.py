"""Results of large batches, for the API and the console."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.batch_objects import S3BatchObjects
from replicate_proxy.aws.clients import get_client, get_presigning_client
from replicate_proxy.aws.usage_store import DynamoBatchCounts
from replicate_proxy.batches.results import ResultReader
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.bootstrap.job_stores import build_job_store
from replicate_proxy.bootstrap.private_urls import build_url_signer
from replicate_proxy.services.batch_results import BatchResults
from replicate_proxy.settings import IMAGES_BUCKET, USAGE_TABLE


@cache
def build_batch_results() -> BatchResults:
    objects = S3BatchObjects(get_presigning_client(), env[IMAGES_BUCKET])
    reader = ResultReader(
        objects, build_job_store(), build_document_store(), sign_urls=build_url_signer().sign_urls
    )
    return BatchResults(reader, objects)


@cache
def build_batch_counts() -> DynamoBatchCounts:
    return DynamoBatchCounts(get_client("dynamodb"), env[USAGE_TABLE])
