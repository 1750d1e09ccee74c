"""Every test: a made-up AWS environment, no metrics left over, no network beyond loopback."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import pytest_socket

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read by powertools and boto3 when they are imported.
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "POWERTOOLS_SERVICE_NAME": "replicate-proxy",
    "POWERTOOLS_METRICS_NAMESPACE": "ReplicateProxy",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
}
for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def no_metrics_left_over() -> Iterator[None]:
    """Powertools keeps metrics for the whole process."""
    yield
    from replicate_proxy.observability import metrics  # noqa: PLC0415 - it reads the environment above

    metrics.clear_metrics()


@pytest.fixture(autouse=True)
def loopback_only(request: pytest.FixtureRequest) -> Iterator[None]:
    if "integration" in request.path.parts:
        yield
        return
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1"], allow_unix_socket=True)
    yield
    pytest_socket._remove_restrictions()
