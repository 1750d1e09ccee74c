"""Combinations of options that have every pair of their values, for pairwise tests."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING

from allpairspy import AllPairs  # type: ignore[import-untyped] # has no stubs

from tests.template.variants import PUBLIC_KEY
from tools.template.stack import read_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

type Parameters = dict[str, str]

DEFAULTS: Parameters = {
    name: str(parameter.get("Default", "")) for name, parameter in read_template()["Parameters"].items()
}
OWN_WEB_ACL = {"OutputsWebAclArn": "arn:aws:wafv2:us-east-1:111122223333:global/webacl/own/1b2c3d4e"}
# Options that are not a single true or false: the parameters of each value other than the default.
OTHER_OPTIONS: tuple[tuple[Parameters, ...], ...] = (
    ({"AlarmEmail": "ops@example.com"},),
    ({"AllowedCidrs": "192.0.2.0/24,2001:db8::/32"},),
    (
        {
            "ApiDomainName": "api.example.com",
            "ApiCertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/api",
        },
    ),
    ({"AvailabilityZones": "us-east-1c,us-east-1d"},),
    (
        {"CorsAllowedOrigins": "https://app.example.com"},
        {"CorsAllowedOrigins": "https://app.example.com,https://admin.example.com"},
    ),
    ({"CostAnomalyAlarmDollars": "50"},),
    ({"FirewallAllowedIpv4": "192.0.2.0/24"},),
    ({"NotifyTopicArn": "arn:aws:sns:us-east-1:111122223333:jobs"},),
    (
        {
            "OutputsDomainName": "files.example.com",
            "OutputsCertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/outputs",
        },
    ),
    ({"OutputRetentionDays": "1"},),
    (
        {
            "PrivateOutputsPublicKey1": PUBLIC_KEY,
            "PrivateOutputsPublicKey2": "",
            "PrivateOutputsSigningKey": "1",
        },
        {
            "PrivateOutputsPublicKey1": "",
            "PrivateOutputsPublicKey2": PUBLIC_KEY,
            "PrivateOutputsSigningKey": "2",
        },
    ),
    (OWN_WEB_ACL,),
    ({"PublicBaseUrl": "https://proxy.example.com", "OutputsBaseUrl": "https://files.example.com"},),
    ({"ReplicateApiTokenParameter": "/a/token", "ReplicateWebhookSecretParameter": "/a/secret"},),
    ({"StorageAlarmGigabytes": "0"},),
    ({"WebhookBaseUrl": "https://hooks.example.com"},),
)
SWITCHES: list[list[Parameters]] = [
    [{name: "false"}, {name: "true"}]
    for name, parameter in read_template()["Parameters"].items()
    if parameter.get("AllowedValues") == ["true", "false"]
]
OPTIONS: list[list[Parameters]] = SWITCHES + [
    [{name: DEFAULTS[name] for name in values[0]}, *values] for values in OTHER_OPTIONS
]


# Pairs that the rules of the template reject.
CONFLICTS: tuple[Parameters, ...] = (
    {"AvailabilityZones": "us-east-1c,us-east-1d", "EnableVpc": "false"},
    {"EnableDax": "true", "EnableVpc": "false"},
    {"EnableFirewall": "false", "FirewallAllowedIpv4": "192.0.2.0/24"},
    {"EnableMonitoring": "false", "AlarmEmail": "ops@example.com"},
    {"EnableMonitoring": "false", "CostAnomalyAlarmDollars": "50"},
    {"EnableMonitoring": "false", "EnableDetailedMonitoring": "true"},
    {"EnableOutputsFirewall": "true", **OWN_WEB_ACL},
)


def merge(row: Iterable[Parameters]) -> Parameters:
    return {name: value for parameters in row for name, value in parameters.items()}


def is_accepted(row: Sequence[Parameters]) -> bool:
    """Return whether CloudFormation accepts the parameters, as far as they are chosen."""
    chosen = merge(row).items()
    return not any(conflict.items() <= chosen for conflict in CONFLICTS)


def find_absent_pairs(rows: list[Parameters]) -> list[Parameters]:
    """Return the pairs of values of two options that could be combined and are in no row."""
    pairs = [
        merge(pair) for options in combinations(OPTIONS, 2) for pair in product(*options) if is_accepted(pair)
    ]
    return [pair for pair in pairs if not any(pair.items() <= row.items() for row in rows)]


def build_combinations() -> list[Parameters]:
    """Return a small set of rows with every pair; those that the library leaves out get rows of their own."""
    rows = [merge(row) for row in AllPairs(OPTIONS, filter_func=is_accepted)]
    while absent := find_absent_pairs(rows):
        row: Parameters = {}
        for pair in absent:
            if all(row.get(name, value) == value for name, value in pair.items()) and is_accepted(
                [row, pair]
            ):
                row |= pair
        for values in OPTIONS:
            if not values[0].keys() & row.keys():
                row |= next(value for value in values if is_accepted([row, value]))
        rows.append(row)
    return rows


COMBINATIONS = build_combinations()
