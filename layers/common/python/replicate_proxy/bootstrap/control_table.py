"""The control table."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.settings import CONTROL_TABLE


@cache
def build_control_table() -> ControlTable:
    return ControlTable(get_client("dynamodb"), env[CONTROL_TABLE])
