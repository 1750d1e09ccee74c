"""For all tests: a fake AWS environment, no metrics of earlier tests, no network but loopback."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import boto3
import botocore.session
import hypothesis
import pytest
import pytest_socket

from tools.local.processes import isolate_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.metrics import MetricsReader

# What a developer has set for AWS, Powertools and Replicate must not reach the code under test.
for name in [name for name in os.environ if name.startswith(("AWS_", "POWERTOOLS_", "REPLICATE_"))]:
    del os.environ[name]
isolate_process()
os.environ.pop("FORCE_COLOR", None)  # Tools would color what tests read of their output.
# Powertools and boto3 read these when they are imported.
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "POWERTOOLS_SERVICE_NAME": "replicate-proxy",
    "POWERTOOLS_METRICS_NAMESPACE": "ReplicateProxy",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
}

# Tests on moto create clients of their own: parse the description of each service once, not for each client,
# and create a client once. moto gives it an empty account in each test.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)
boto3.client = functools.cache(boto3.client)

# A slow machine must not fail a test.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.load_profile("default")


@pytest.fixture(autouse=True)
def clear_metrics() -> Iterator[None]:
    """Clear the metrics after each test; Powertools collects them for the whole process."""
    yield
    from replicate_proxy.observability import metrics  # noqa: PLC0415 - reads the environment above

    metrics.clear_metrics()


@pytest.fixture
def emitted(capsys: pytest.CaptureFixture[str]) -> MetricsReader:
    """The metrics that the code under test emits."""
    from tests.support.metrics import MetricsReader  # noqa: PLC0415 - reads the environment above

    return MetricsReader(capsys)


@pytest.fixture(autouse=True)
def allow_only_loopback(request: pytest.FixtureRequest) -> Iterator[None]:
    if "integration" in request.path.parts:
        yield
        return
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)
    yield
    pytest_socket._remove_restrictions()
