"""The only place where AWS clients are made: short timeouts, bounded retries, one client a service."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config

from replicate_proxy.config import Environment
from replicate_proxy.testing.fault_injection import inject_aws_faults, load_fault_plan

# A hop has seconds, not minutes: the queue behind it retries with more patience than the SDK should.
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=32,
)


@cache
def get_client(service: str) -> Any:
    """A low-level client, as in `client("dynamodb")`. Typed Any: botocore makes its classes at run time."""
    made = _session().create_client(service, config=_CONFIG)
    if (plan := load_fault_plan(Environment(os.environ).local_settings())) is not None:
        inject_aws_faults(made, service, plan)
    return made


@cache
def get_presigning_client() -> Any:
    """An S3 client for addresses and forms that others use: signature version 4, the region's own endpoint.

    By default boto3 signs for the global endpoint, which redirects to the region where the bucket is new; a
    redirect breaks the signature and drops a posted form.
    """
    local = os.environ.get("AWS_ENDPOINT_URL")
    return _session().create_client(
        "s3",
        endpoint_url=local or f"https://s3.{_session().get_config_variable('region')}.amazonaws.com",
        config=_CONFIG.merge(Config(signature_version="s3v4")),
    )


@cache
def _session() -> Any:
    """One session: it holds the loader of the service models, which is half the cost of a client.

    botocore's own: boto3's adds S3 transfers and resources to every cold start, and nothing here uses them.
    """
    return botocore.session.get_session()
