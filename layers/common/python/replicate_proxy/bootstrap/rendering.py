"""What renders predictions for callers."""

from __future__ import annotations

from functools import cache

from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.private_urls import build_url_signer
from replicate_proxy.services.rendering import PredictionRenderer


@cache
def build_renderer() -> PredictionRenderer:
    return PredictionRenderer(build_document_store(), sign_urls=build_url_signer().sign_urls)
