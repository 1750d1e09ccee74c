"""The templates keep every rule: by default, with every option on, polling, and on the local stack."""

from __future__ import annotations

import pytest

from tests.template.rules import RULES, Rule
from tests.template.stack import load_stack

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
        "LocalSettings": '{"allow_loopback": true}',
        "LocalStack": "true",
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_template_keeps_rule(rule: Rule, variant: str) -> None:
    assert rule(load_stack(**VARIANTS[variant])) == []
