"""The only place where AWS clients are created: short timeouts, few retries, one client per service."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config

from replicate_proxy.config import Environment
from replicate_proxy.testing.fault_injection import inject_aws_faults, load_fault_plan

# The SDK gives up after seconds: the queue in front of a function retries the whole message later.
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=32,
)


@cache
def get_client(service: str) -> Any:
    """Return the client of a service, such as "dynamodb".

    Its type is Any, because botocore generates the methods at run time.
    """
    client = _session().create_client(service, config=_CONFIG)
    plan = load_fault_plan(Environment(os.environ).local_settings())
    if plan is not None:
        inject_aws_faults(client, service, plan)
    return client


@cache
def get_presigning_client() -> Any:
    """Return an S3 client whose presigned URLs and forms use signature version 4 and the regional endpoint.

    By default they name the global endpoint, which redirects to the region for new buckets. A redirect
    invalidates the signature and drops the body of a form.
    """
    regional_endpoint = f"https://s3.{_session().get_config_variable('region')}.amazonaws.com"
    return _session().create_client(
        "s3",
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL") or regional_endpoint,
        config=_CONFIG.merge(Config(signature_version="s3v4")),
    )


@cache
def _session() -> Any:
    """Return the session that all clients share.

    It caches the service models, whose loading is half the cost of a client. botocore's session is used
    because boto3 would add its S3 transfers and resources to every cold start.
    """
    return botocore.session.get_session()
