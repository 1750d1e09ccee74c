"""The names of queues: their URLs and ARNs."""

from __future__ import annotations

ACCOUNT = "111122223333"
REGION = "us-east-1"
URL_PREFIX = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/"
_ARN_PREFIX = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"


def get_queue_url(name: str) -> str:
    return URL_PREFIX + name


def get_queue_arn(name: str) -> str:
    return _ARN_PREFIX + name


def get_queue_name(arn: str) -> str:
    return arn.removeprefix(_ARN_PREFIX)
