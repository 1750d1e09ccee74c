"""Values of the template's parameters and settings of the functions for a stack on this machine."""

from pathlib import Path
from typing import Any

from tools.local import build
from tools.local.upstream import Upstream

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
        "EnableReplicateWebhooks": str(upstream.webhooks).lower(),
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


def build_settings(*, faults_file: Path, clock_file: Path) -> dict[str, Any]:
    """Return what functions read from LOCAL_SETTINGS, which relaxes guards that AWS needs.

    The files need not exist. `faults_file` makes functions fail (`replicate_proxy.testing.fault_injection`);
    `clock_file` has the seconds that their clocks are ahead (`replicate_proxy.testing.offset_clock`).
    """
    return {
        "allow_loopback": True,
        "faults_file": str(faults_file),
        "clock_offset_file": str(clock_file),
    }


def build_public_url(endpoint_url: str) -> str:
    """Return the base URL for clients: the emulator's custom domain, which survives every redeployment."""
    return f"{endpoint_url}/{STAGE}"
