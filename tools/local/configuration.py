"""Which Replicate the stack talks to: the local one, Replicate itself, or any other address.

Values of the template's parameters and settings of the functions for a stack on this machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from tools.local import build
from tools.local.errors import LocalError
from tools.simulator.settings import DEFAULT_TOKEN

REPLICATE = "https://api.replicate.com"
UNUSED_WEBHOOK_SECRET = "whsec_bm90LXVzZWQtd2hpbGUtcG9sbGluZw=="  # noqa: S105 - stands where no webhook will ever come


@dataclass(frozen=True)
class Upstream:
    """Address and token of a Replicate. Without webhooks the proxy learns by polling."""

    url: str
    webhooks_enabled: bool
    token: str = field(repr=False)

    @property
    def is_local(self) -> bool:
        return urlsplit(self.url).hostname in {"127.0.0.1", "localhost", "::1"}

    @property
    def output_hosts(self) -> str:
        """Hosts that outputs may be fetched from, comma separated."""
        return "127.0.0.1" if self.is_local else "replicate.delivery,*.replicate.delivery"

    def fetch_webhook_secret(self) -> str:
        """What signs this upstream's webhooks (OpenAPI document: GET /webhooks/default/secret)."""
        if not self.webhooks_enabled:
            return UNUSED_WEBHOOK_SECRET
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            answer = requests.get(f"{self.url}/v1/webhooks/default/secret", headers=headers, timeout=10)
            answer.raise_for_status()
            return str(answer.json()["key"])
        except (requests.RequestException, ValueError, KeyError) as error:
            raise LocalError(f"{self.url} does not tell its webhook secret: {error}") from error


def choose_upstream(environment: Mapping[str, str], local_url: str) -> Upstream:
    """REPLICATE_API_TOKEN means a real account, which cannot call back to a laptop, so it is polled."""
    token = environment.get("REPLICATE_API_TOKEN", "").strip()
    address = environment.get("REPLICATE_API_BASE_URL", "").strip().rstrip("/").removesuffix("/v1")
    if address and not address.startswith(("https://", "http://")):
        raise LocalError(f"REPLICATE_API_BASE_URL is not an address: {address}")
    default = REPLICATE if token else local_url
    return Upstream(address or default, webhooks_enabled=not token, token=token or DEFAULT_TOKEN)


STAGE = "local"
MAX_WAIT_SECONDS = 25
TOKEN_PARAMETER = f"/replicate-proxy/{STAGE}/replicate-api-token"
SECRET_PARAMETER = f"/replicate-proxy/{STAGE}/replicate-webhook-secret"


def build_parameters(*, endpoint_url: str, cdn_url: str, upstream: Upstream) -> dict[str, str]:
    """Return the values by name. Timeouts are shorter than on AWS, so that a developer need not wait."""
    public_url = build_public_url(endpoint_url)
    return {
        "Stage": STAGE,
        "Architecture": build.get_host_architecture(),
        "ReplicateApiBaseUrl": upstream.url,
        "ReplicateApiTokenParameter": TOKEN_PARAMETER,
        "ReplicateWebhookSecretParameter": SECRET_PARAMETER,
        "EnableReplicateWebhooks": str(upstream.webhooks_enabled).lower(),
        "PublicBaseUrl": public_url,
        "WebhookBaseUrl": public_url,
        "OutputsBaseUrl": cdn_url,
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


def build_settings(*, faults_file: Path, clock_offset_file: Path) -> dict[str, Any]:
    """Return what functions read from LOCAL_SETTINGS, which relaxes guards that AWS needs.

    The files need not exist. `faults_file` makes functions fail (`replicate_proxy.testing.fault_injection`);
    `clock_file` has the seconds that their clocks are ahead (`replicate_proxy.testing.offset_clock`).
    """
    return {
        "allow_loopback": True,
        "faults_file": str(faults_file),
        "clock_offset_file": str(clock_offset_file),
    }


def build_public_url(endpoint_url: str) -> str:
    """Return the base URL for clients: the emulator's custom domain, which survives every redeployment."""
    return f"{endpoint_url}/{STAGE}"
