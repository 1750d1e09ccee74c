"""The template holds every rule, by default, with every option on, and as the local stack deploys it."""

from __future__ import annotations

import pytest

from tests.template.rules import ALL, Rule
from tests.template.stack import load

VARIANTS: dict[str, dict[str, str]] = {
    "default": {},
    "everything": {
        "EnableAccessLogs": "true",
        "AlarmEmailSubscription": "ops@example.com",
        "AllowedCidrs": "192.0.2.0/24,2001:db8::/32",
        "ApiCertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/api",
        "ApiDomainName": "api.example.com",
        "CorsAllowedOrigins": "https://app.example.com",
        "CostAnomalyAlarmDollars": "50",
        "UseCustomerManagedKey": "true",
        "EnableDax": "true",
        "EnableEventArchive": "true",
        "EnableFirewall": "true",
        "FirewallAllowedIpv4": "192.0.2.0/24",
        "FirewallDeniedIpv6": "2001:db8:bad::/48",
        "EnableVpc": "true",
        "NotifyTopicArn": "arn:aws:sns:us-east-1:111122223333:jobs",
        "OutputRetentionDays": "1",
        "OutputsCertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/outputs",
        "OutputsDomainName": "files.example.com",
        "EnableOutputsFirewall": "true",
        "EnableResponseCache": "true",
        "EnableTransferAcceleration": "true",
        "EnableUsagePlans": "true",
    },
    "polling": {
        "CorsAllowedOrigins": "https://app.example.com,https://admin.example.com",
        "JobRetentionDays": "1",
        "EnableReplicateWebhooks": "false",
        "StorageAlarmGigabytes": "0",
    },
    "local": {
        "LocalStack": "true",
        "LocalSettings": '{"allow_loopback": true}',
        "EnableDeletionProtection": "false",
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.__name__)
def test_the_template_holds_the_rule(rule: Rule, variant: str) -> None:
    assert rule(load(**VARIANTS[variant])) == []
