"""What a local stack is configured with: its upstream, template parameters and function settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from tools.local import build
from tools.local.errors import LocalError
from tools.simulator.settings import DEFAULT_TOKEN

STAGE = "local"
MAX_WAIT_SECONDS = 25
TOKEN_PARAMETER = f"/replicate-proxy/{STAGE}/replicate-api-token"
URL_KEY_PARAMETER = f"/replicate-proxy/{STAGE}/private-outputs-key-1"
SECRET_PARAMETER = f"/replicate-proxy/{STAGE}/replicate-webhook-secret"

_REPLICATE_URL = "https://api.replicate.com"
_REPLICATE_STREAMS_URL = "https://stream-b.svc.ric1.c.replicate.net"
_UNUSED_WEBHOOK_SECRET = "whsec_bm90LXVzZWQtd2hpbGUtcG9sbGluZw=="  # noqa: S105 - no webhook is signed with it


@dataclass(frozen=True)
class Upstream:
    """The Replicate API that a stack calls. Without webhooks, the stack polls it."""

    url: str
    webhooks_enabled: bool
    token: str = field(repr=False)

    @property
    def is_local(self) -> bool:
        return urlsplit(self.url).hostname in {"127.0.0.1", "localhost", "::1"}

    @property
    def stream_url(self) -> str:
        """The origin of the streams, which the local Replicate serves itself."""
        return self.url if self.is_local else _REPLICATE_STREAMS_URL

    @property
    def output_hosts(self) -> str:
        """The hosts that outputs may be fetched from, separated by commas."""
        return "127.0.0.1" if self.is_local else "replicate.delivery,*.replicate.delivery"

    def fetch_webhook_secret(self) -> str:
        """Return the secret that signs webhooks (Replicate's OpenAPI: GET /webhooks/default/secret).

        Raises `LocalError` if the upstream does not return it.
        """
        if not self.webhooks_enabled:
            return _UNUSED_WEBHOOK_SECRET
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            response = requests.get(f"{self.url}/v1/webhooks/default/secret", headers=headers, timeout=10)
            response.raise_for_status()
            return str(response.json()["key"])
        except (requests.RequestException, ValueError, KeyError) as error:
            raise LocalError(f"cannot fetch the webhook secret of {self.url}: {error}") from error


def choose_upstream(environment: Mapping[str, str], simulator_url: str) -> Upstream:
    """Return Replicate if REPLICATE_API_TOKEN is set, or else the simulator.

    REPLICATE_API_BASE_URL overrides the address. Replicate itself cannot send webhooks to this machine, so
    with a token the stack polls.
    """
    token = environment.get("REPLICATE_API_TOKEN", "").strip()
    url = environment.get("REPLICATE_API_BASE_URL", "").strip().rstrip("/").removesuffix("/v1")
    if url and not url.startswith(("https://", "http://")):
        raise LocalError(f"REPLICATE_API_BASE_URL is not an http or https URL: {url}")
    default_url = _REPLICATE_URL if token else simulator_url
    return Upstream(url or default_url, webhooks_enabled=not token, token=token or DEFAULT_TOKEN)


def build_parameters(
    *, endpoint_url: str, cdn_url: str, upstream: Upstream, public_url_key: str
) -> dict[str, str]:
    """Return the template's parameters; timeouts are shorter than on AWS, so that developers wait less.

    `public_url_key` is the PEM of the key that signs URLs of private outputs.
    """
    public_url = build_public_url(endpoint_url)
    return {
        "Stage": STAGE,
        "Architecture": build.get_host_architecture(),
        "ReplicateApiBaseUrl": upstream.url,
        "ReplicateStreamBaseUrl": upstream.stream_url,
        "ReplicateApiTokenParameter": TOKEN_PARAMETER,
        "ReplicateWebhookSecretParameter": SECRET_PARAMETER,
        "EnableReplicateWebhooks": str(upstream.webhooks_enabled).lower(),
        "PublicBaseUrl": public_url,
        "WebhookBaseUrl": public_url,
        "OutputsBaseUrl": cdn_url,
        "PrivateOutputsPublicKey1": public_url_key,
        "OutputHosts": upstream.output_hosts,
        "MaxWaitSeconds": str(MAX_WAIT_SECONDS),
        "WebhookTimeoutSeconds": "20",
        "QueuedTimeoutSeconds": "20",
        "PollIntervalSeconds": "2",
        "SweepDurationSeconds": "45",
        "EnableDeletionProtection": "false",
        "EnableMonitoring": "false",
        "LogRetentionDays": "1",
    }


def build_public_url(endpoint_url: str) -> str:
    """Return the base URL for clients: the emulator's custom domain, which survives every redeployment."""
    return f"{endpoint_url}/{STAGE}"


def build_settings(*, faults_file: Path, clock_offset_file: Path) -> dict[str, Any]:
    """Return what functions read from LOCAL_SETTINGS, which relaxes guards that AWS needs.

    The files need not exist. `faults_file` makes functions fail (`replicate_proxy.testing.fault_injection`);
    `clock_offset_file` has the seconds that their clocks are ahead (`replicate_proxy.testing.offset_clock`).
    """
    return {
        "allow_loopback": True,
        "faults_file": str(faults_file),
        "clock_offset_file": str(clock_offset_file),
    }
