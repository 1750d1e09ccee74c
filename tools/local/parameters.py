"""The template's parameters for a stack on this machine."""

import json
from pathlib import Path

from tools.local import build
from tools.local.upstream import Upstream

STAGE = "local"
SYNC_SECONDS = 25


def parameters(
    *, endpoint_url: str, cdn_url: str, upstream: Upstream, faults_file: Path, clock_file: Path
) -> dict[str, str]:
    """Names as in template.yaml. Each hop's patience is short: nobody at a laptop waits as AWS may.

    The files need not exist. What `faults_file` says, functions suffer by
    `replicate_proxy.testing.fault_injection`; by the
    seconds in `clock_file` they run ahead (`replicate_proxy.testing.offset_clock`).
    """
    public = public_url(endpoint_url)
    settings = {
        "allow_loopback": True,
        "faults_file": str(faults_file),
        "clock_offset_file": str(clock_file),
    }
    return {
        "Stage": STAGE,
        "LocalStack": "true",
        "Architecture": build.architecture(),
        "ReplicateApiBaseUrl": upstream.url,
        "ReplicateApiTokenParameter": token_parameter(),
        "ReplicateWebhookSecretParameter": secret_parameter(),
        "EnableReplicateWebhooks": str(upstream.webhooks).lower(),
        "PublicBaseUrl": public,
        "WebhookBaseUrl": public,
        "OutputsBaseUrl": cdn_url,
        "OutputHosts": upstream.output_hosts,
        "LocalSettings": json.dumps(settings, separators=(",", ":")),
        "MaxWaitSeconds": str(SYNC_SECONDS),
        "WebhookTimeoutSeconds": "20",
        "QueuedTimeoutSeconds": "20",
        "PollIntervalSeconds": "2",
        "SweepDurationSeconds": "45",
        "EnableDeletionProtection": "false",
        "EnableMonitoring": "false",
        "LogRetentionDays": "1",
    }


def public_url(endpoint_url: str) -> str:
    """Clients' base URL: the emulator's custom domain, whose address outlives any redeployment."""
    return f"{endpoint_url}/{STAGE}"


def token_parameter() -> str:
    return f"/replicate-proxy/{STAGE}/replicate-api-token"


def secret_parameter() -> str:
    return f"/replicate-proxy/{STAGE}/replicate-webhook-secret"
