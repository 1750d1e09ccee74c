"""Write the models of the AWS services that the layer contains: botocore's, without what no function uses.

.venv/bin/python -m tools.service_models

Reading the whole models of the operations of a service, and the table of the endpoints of all services, takes
a tenth to a fifth of a cold start (docs/decisions/0069-cold-starts-load-what-requests-need.md). The rules of
endpoints, paginators and waiters stay those of the runtime's botocore.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.loaders import Loader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER = Path(__file__).parents[1] / "layers/common/python/replicate_proxy/aws/models"

# What the adapters in replicate_proxy/aws call, by service.
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "apigateway": (
        "CreateApiKey",
        "CreateUsagePlan",
        "CreateUsagePlanKey",
        "DeleteApiKey",
        "FlushStageAuthorizersCache",
        "GetUsagePlans",
        "UpdateUsagePlan",
    ),
    "cloudwatch": ("GetMetricData",),
    "dynamodb": (
        "BatchGetItem",
        "BatchWriteItem",
        "DeleteItem",
        "GetItem",
        "PutItem",
        "Query",
        "Scan",
        "TransactWriteItems",
        "UpdateItem",
    ),
    "dynamodbstreams": ("DescribeStream", "GetRecords", "GetShardIterator"),
    "events": ("CancelReplay", "DescribeReplay", "ListReplays", "PutEvents", "StartReplay"),
    "lambda": ("Invoke",),
    "s3": (
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
        "CreateBucket",  # `generate_presigned_post` resolves the endpoint by it
        "CreateMultipartUpload",
        "DeleteObject",
        "DeleteObjects",
        "GetObject",
        "HeadObject",
        "ListObjectsV2",
        "ListParts",
        "PutObject",
        "UploadPart",
    ),
    "secretsmanager": ("GetSecretValue",),
    "sns": ("Publish",),
    "sqs": (
        "ChangeMessageVisibilityBatch",
        "DeleteMessage",
        "GetQueueAttributes",
        "ReceiveMessage",
        "SendMessage",
        "SendMessageBatch",
    ),
    "ssm": ("DeleteParameter", "GetParameter", "PutParameter"),
}
# Names in the table of endpoints, where they differ.
_ENDPOINT_NAMES = {"cloudwatch": "monitoring", "dynamodbstreams": "streams.dynamodb"}
_UNUSED_KEYS = frozenset({"documentation", "documentationUrl", "examples"})


def build_files() -> dict[str, str]:
    """Return the content of each file by its path below the folder."""
    loader = Loader()
    files = {"endpoints.json": _to_text(_trim_endpoints(loader.load_data("endpoints")))}
    for service, operations in OPERATIONS.items():
        version = loader.determine_latest_version(service, "service-2")
        model = loader.load_data(f"{service}/{version}/service-2")
        files[f"{service}/{version}/service-2.json"] = _to_text(_trim_model(model, operations))
    return files


def main() -> int:
    """Write the files in the place of those of an earlier botocore."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for path, text in build_files().items():
        file = FOLDER / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return 0


def _trim_model(model: Mapping[str, Any], operations: tuple[str, ...]) -> dict[str, Any]:
    """Return the model with these operations and the shapes that they refer to."""
    kept = {name: model["operations"][name] for name in operations}
    pending, shapes = list(_find_shapes(kept)), {}
    while pending:
        name = pending.pop()
        if name not in shapes:
            shapes[name] = model["shapes"][name]
            pending += _find_shapes(shapes[name])
    # In the order of the model, which is that of the fields of a request.
    ordered = {name: shape for name, shape in model["shapes"].items() if name in shapes}
    # What else there is stays as it is: botocore reads the documentation of the client's context parameters.
    return {**model, "operations": _drop_unused(kept), "shapes": _drop_unused(ordered)}


def _find_shapes(part: Any) -> Iterator[str]:
    """Yield the names of the shapes to which a part of a model refers."""
    match part:
        case {"shape": str(name), **rest}:
            yield name
            yield from _find_shapes(rest)
        case dict():
            for value in part.values():
                yield from _find_shapes(value)
        case list():
            for value in part:
                yield from _find_shapes(value)


def _trim_endpoints(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of endpoints with our services, and the one that gives credentials to developers."""
    names = {_ENDPOINT_NAMES.get(service, service) for service in (*OPERATIONS, "sts")}
    partitions = [
        {
            **partition,
            "services": {
                name: partition["services"][name] for name in sorted(names) if name in partition["services"]
            },
        }
        for partition in table["partitions"]
    ]
    return {**table, "partitions": partitions}


def _to_text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def _drop_unused(part: Any) -> Any:
    match part:
        case dict():
            return {
                name: _drop_unused(value)
                for name, value in part.items()
                # A member of a shape can have such a name; its value then refers to a shape.
                if name not in _UNUSED_KEYS or (isinstance(value, dict) and "shape" in value)
            }
        case list():
            return [_drop_unused(value) for value in part]
        case _:
            return part


if __name__ == "__main__":
    sys.exit(main())
