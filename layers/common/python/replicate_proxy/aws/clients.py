"""The only place where AWS clients are created: short timeouts, few retries, one client per service."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import botocore.session
from botocore.config import Config
from botocore.loaders import Loader

from replicate_proxy.config import Environment
from replicate_proxy.testing.fault_injection import inject_aws_faults, load_fault_plan

if TYPE_CHECKING:
    from types_boto3_apigateway import APIGatewayClient
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient
    from types_boto3_events import EventBridgeClient
    from types_boto3_lambda import LambdaClient
    from types_boto3_s3 import S3Client
    from types_boto3_secretsmanager import SecretsManagerClient
    from types_boto3_sns import SNSClient
    from types_boto3_sqs import SQSClient
    from types_boto3_ssm import SSMClient

# The SDK gives up after seconds: the queue in front of a function retries the whole message later.
# By default it sends a checksum with each part, but starts uploads without one, and S3 does not complete
# those (Amazon S3 API Reference, "UploadPart": the algorithm must be that of CreateMultipartUpload). S3
# verifies bodies nevertheless, since the SDK signs them.
_CONFIG = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=32,
    request_checksum_calculation="when_required",
)
# What follows a failed call must happen within the timeout of the function: the caller is told that its
# create was not confirmed, a cached secret is used, and what could not be enqueued, published or started is
# left to the sweep, or to the next request.
_CONFIGS = {
    "dynamodb": Config(connect_timeout=1, read_timeout=2),
    "events": Config(connect_timeout=1, read_timeout=2),
    "lambda": Config(connect_timeout=1, read_timeout=2),
    "sqs": Config(connect_timeout=1, read_timeout=2),
    "ssm": Config(connect_timeout=1, read_timeout=1),
}
_FAIL_FAST = Config(connect_timeout=1, read_timeout=1, retries={"mode": "standard", "total_max_attempts": 2})
_MODELS = Path(__file__).with_name("models")
# The services of `get_client`, and those by which tools obtain credentials outside of Lambda: IAM Identity
# Center, and the roles of profiles.
_SERVICES = (
    "apigateway",
    "cloudwatch",
    "dynamodb",
    "dynamodbstreams",
    "events",
    "lambda",
    "s3",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "sso",
    "sso-oidc",
    "sts",
)


@overload
def get_client(service: Literal["apigateway"]) -> APIGatewayClient: ...
@overload
def get_client(service: Literal["cloudwatch"]) -> CloudWatchClient: ...
@overload
def get_client(service: Literal["dynamodb"]) -> DynamoDBClient: ...
@overload
def get_client(service: Literal["dynamodbstreams"]) -> DynamoDBStreamsClient: ...
@overload
def get_client(service: Literal["events"]) -> EventBridgeClient: ...
@overload
def get_client(service: Literal["lambda"]) -> LambdaClient: ...
@overload
def get_client(service: Literal["s3"]) -> S3Client: ...
@overload
def get_client(service: Literal["secretsmanager"]) -> SecretsManagerClient: ...
@overload
def get_client(service: Literal["sns"]) -> SNSClient: ...
@overload
def get_client(service: Literal["sqs"]) -> SQSClient: ...
@overload
def get_client(service: Literal["ssm"]) -> SSMClient: ...
def get_client(service: str) -> Any:
    """Return the client of a service, which is created once."""
    return _create_client(service)


@cache
def get_fail_fast_client() -> DynamoDBClient:
    """Return a DynamoDB client for the authorizer, which has an answer without the table: its cached keys.

    Two calls of it end within ten seconds, also if they get no response. Lambda would end the authorizer
    before a call of the other client does, and the cached keys with it.
    """
    client: DynamoDBClient = _build_client("dynamodb", _CONFIG.merge(_FAIL_FAST))
    return client


@cache
def get_waiting_client() -> LambdaClient:
    """Return a Lambda client that waits for the result of an invocation.

    It does not repeat the invocation if that takes longer: the function would still work on the first one.
    """
    once = Config(retries={"mode": "standard", "total_max_attempts": 1})
    client: LambdaClient = _build_client("lambda", _CONFIG.merge(once))
    return client


@cache
def get_presigning_client(*, accelerated: bool = False) -> S3Client:
    """Return an S3 client whose presigned URLs and forms use signature version 4 and the regional endpoint.

    By default they name the global endpoint, which redirects to the region for new buckets. A redirect
    invalidates the signature and drops the body of a form. With `accelerated` they use S3 Transfer
    Acceleration, which the local AWS does not have.
    """
    options = Config(
        signature_version="s3v4",
        s3={
            "addressing_style": "virtual",
            "us_east_1_regional_endpoint": "regional",
            "use_accelerate_endpoint": accelerated and not os.environ.get("AWS_ENDPOINT_URL"),
        },
    )
    client: S3Client = _get_session().create_client("s3", config=_CONFIG.merge(options))
    return client


@cache
def _create_client(service: str) -> Any:
    return _build_client(service, _CONFIG.merge(_CONFIGS.get(service, Config())))


def _build_client(service: str, config: Config) -> Any:
    client = _get_session().create_client(service, config=config)
    plan = load_fault_plan(Environment(os.environ).local_settings())
    if plan is not None:
        inject_aws_faults(client, service, plan)
    return client


@cache
def _get_session() -> Any:
    """Return the session that all clients share.

    It caches the service models, whose loading is half the cost of a client. botocore's session is used
    because boto3 would add its S3 transfers and resources to every cold start.
    """
    session = botocore.session.get_session()
    session.register_component("data_loader", _ServiceLoader())
    return session


class _ServiceLoader(Loader):
    """Loads the models in the layer, which have what our functions use (tools/service_models.py).

    It does not look first for the models of all services, in some 900 directories.
    """

    def __init__(self) -> None:
        super().__init__(extra_search_paths=[str(_MODELS)])

    def list_available_services(self, type_name: str) -> list[str]:
        del type_name  # every service here has every type of model that a client needs
        return list(_SERVICES)

    def is_builtin_path(self, path: str) -> bool:
        """Return True for our table of endpoints, too: otherwise botocore ignores the endpoint rules."""
        return path.startswith(str(_MODELS)) or bool(super().is_builtin_path(path))
