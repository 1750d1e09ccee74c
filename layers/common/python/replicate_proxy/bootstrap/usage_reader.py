"""The reader of usage, without what only the usage function imports."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.usage_store import DynamoUsageReports
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.settings import USAGE_TABLE
from replicate_proxy.usage.report import UsageReader


@cache
def build_usage_reader() -> UsageReader:
    return UsageReader(DynamoUsageReports(get_client("dynamodb"), env[USAGE_TABLE]))
