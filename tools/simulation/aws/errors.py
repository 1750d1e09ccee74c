"""The errors of AWS as boto3 raises them."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError


def make_error(
    code: str, message: str = "", *, operation: str, status: int = 400, **response: Any
) -> ClientError:
    """Return the error of an operation, named as in `PutItem`; `response` is what else the response holds."""
    content: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **response,
    }
    return ClientError(content, operation)


class RejectedError(Exception):
    """A request that the service rejects. The client raises it as ClientError, which names the operation."""

    def __init__(self, code: str, message: str = "", *, status: int = 400, **response: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.response = response

    def to_client_error(self, operation: str) -> ClientError:
        return make_error(self.code, self.message, operation=operation, status=self.status, **self.response)


def validation_error(message: str) -> RejectedError:
    return RejectedError("ValidationException", message)
