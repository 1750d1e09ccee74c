"""The deployments that the template tests look at."""

from __future__ import annotations

from functools import cache

from tools.local.template import localize_template
from tools.template.stack import Stack, load_stack, read_template, transform

PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPWkVj7dbCOHvtyFRTyb4LtQ3dfk8
hP6WUjLQBpZfGzT1kRqRrJfPFQcAn0qLWfYUHuTxZs0MlR8DhL3kKk2VQg==
-----END PUBLIC KEY-----
"""

VARIANTS: dict[str, dict[str, str]] = {
    "default": {},
    "everything": {
        "AlarmEmail": "ops@example.com",
        "AllowedCidrs": "192.0.2.0/24,2001:db8::/32",
        "ApiCertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/api",
        "ApiDomainName": "api.example.com",
        "CorsAllowedOrigins": "https://app.example.com",
        "CostAnomalyAlarmDollars": "50",
        "EnableAccessLogs": "true",
        "EnableDax": "true",
        "EnableDetailedMonitoring": "true",
        "EnableEventArchive": "true",
        "EnableFirewall": "true",
        "EnableOutputsFirewall": "true",
        "EnableResponseCache": "true",
        "EnableTransferAcceleration": "true",
        "EnableUsagePlans": "true",
        "EnableVpc": "true",
        "FirewallAllowedIpv4": "192.0.2.0/24",
        "FirewallDeniedIpv6": "2001:db8:bad::/48",
        "NotifyTopicArn": "arn:aws:sns:us-east-1:111122223333:jobs",
        "OutputRetentionDays": "1",
        "OutputsCertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/outputs",
        "OutputsDomainName": "files.example.com",
        "PrivateOutputsPublicKey1": PUBLIC_KEY,
        "PrivateOutputsPublicKey2": PUBLIC_KEY,
        "UseCustomerManagedKey": "true",
    },
    "polling": {
        "CorsAllowedOrigins": "https://app.example.com,https://admin.example.com",
        "EnableReplicateWebhooks": "false",
        "JobRetentionDays": "1",
        "StorageAlarmGigabytes": "0",
    },
    "local": {
        "EnableDeletionProtection": "false",
        "EnableMonitoring": "false",
        "PrivateOutputsPublicKey1": PUBLIC_KEY,
    },
}
"""Parameters by variant. The template of `local` is changed for the local stack, too."""


@cache
def load_variant(name: str) -> Stack:
    """Return the stack of a variant. It is shared: do not change it."""
    if name != "local":
        return load_stack(**VARIANTS[name])
    template = localize_template(read_template(), {"allow_loopback": True})
    return Stack(transform(template), VARIANTS[name], is_local=True)
