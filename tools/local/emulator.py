"""The AWS account that MiniStack emulates, and clients for it."""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from tools.local.processes import clean_environment

REGION = "us-east-1"
ACCESS_KEY = "test"
SECRET_KEY = "test"  # noqa: S105 - the emulator's well-known administrator, on loopback only


@cache
def get_client(service: str, endpoint_url: str) -> Any:
    """Return a boto3 client for the emulator, for a process without AWS profiles (`isolate_process`)."""
    session = boto3.session.Session(
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name=REGION,
    )
    config = Config(retries={"total_max_attempts": 3}, read_timeout=60, s3={"addressing_style": "path"})
    return session.client(service, endpoint_url=endpoint_url, config=config)  # type: ignore[call-overload]  # any service


def build_tool_environment(endpoint_url: str) -> dict[str, str]:
    """Return the environment for AWS's own tools: the emulator's address and credentials only."""
    return clean_environment() | {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "SAM_CLI_TELEMETRY": "0",
        # The emulator deploys while the change set is executed; the default of 5 s spares the API of AWS.
        "SAM_CLI_POLL_DELAY": "0.2",
    }
