"""The same calls on the simulation's AWS and on moto, for comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Mapping

# What is generated, describes the HTTP exchange, or was not asked for
_VOLATILE = frozenset(
    {
        "ResponseMetadata",
        "ConsumedCapacity",
        "ItemCollectionMetrics",
        "MessageId",
        "ReceiptHandle",
        "EventId",
        "LastModified",
        "LastModifiedDate",
        "UploadId",
    }
)


class ClientPair:
    """Two clients of one service. A call runs on both and must have the same result."""

    def __init__(self, simulated: Any, moto: Any) -> None:
        self.simulated = simulated
        self.moto = moto

    def call(
        self, operation: str, request: Mapping[str, Any], moto_request: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the response of the simulation, or its error (see `outcome`), which equals moto's."""
        simulated = outcome(self.simulated, operation, request)
        moto = outcome(self.moto, operation, request if moto_request is None else moto_request)
        assert _normalize(simulated) == _normalize(moto)
        return simulated


def outcome(client: Any, operation: str, request: Mapping[str, Any]) -> Any:
    """Return the response of a call, or the code, message, status and further content of its error."""
    try:
        return getattr(client, operation)(**request)
    except ClientError as error:
        response: Any = error.response
        return {
            "code": response["Error"]["Code"],
            "message": response["Error"]["Message"],
            "status": response["ResponseMetadata"]["HTTPStatusCode"],
            **{name: response[name] for name in ("Item", "CancellationReasons") if name in response},
        }


def _normalize(value: Any) -> Any:
    """Return what is compared: without volatile parts, and without empty lists, which SDKs leave out."""
    if isinstance(value, dict):
        parts = {name: _normalize(part) for name, part in value.items() if name not in _VOLATILE}
        return {name: part for name, part in parts.items() if part != []}
    if isinstance(value, list):
        return [_normalize(part) for part in value]
    return value
