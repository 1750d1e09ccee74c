"""Signers of URLs of private outputs: for responses, and for webhooks."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.secrets import build_secret_reader
from replicate_proxy.outputs.private_urls import PrivateUrlSigner
from replicate_proxy.settings import (
    PRIVATE_OUTPUT_SECONDS,
    PRIVATE_OUTPUT_WEBHOOK_SECONDS,
    PRIVATE_OUTPUTS_KEY_ID,
    PRIVATE_OUTPUTS_KEY_PARAMETER,
    PRIVATE_OUTPUTS_PUBLIC_KEY,
)

if TYPE_CHECKING:
    from replicate_proxy.config import Setting


@cache
def build_url_signer() -> PrivateUrlSigner:
    return _build_signer(PRIVATE_OUTPUT_SECONDS)


@cache
def build_webhook_url_signer() -> PrivateUrlSigner:
    return _build_signer(PRIVATE_OUTPUT_WEBHOOK_SECONDS)


def _build_signer(lifetime: Setting[int]) -> PrivateUrlSigner:
    return PrivateUrlSigner(
        key_id=env[PRIVATE_OUTPUTS_KEY_ID],
        public_key=env[PRIVATE_OUTPUTS_PUBLIC_KEY],
        read_private_key=lambda: build_secret_reader().get(env[PRIVATE_OUTPUTS_KEY_PARAMETER]),
        lifetime_seconds=env[lifetime],
        clock=clock,
    )
