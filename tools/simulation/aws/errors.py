"""The errors of AWS as boto3 raises them."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError


class RejectedError(Exception):
    """A request that the service rejects. The client raises it as ClientError, which names the operation.

    `error_class` is the class that boto3 has for the error, if adapters tell it apart by that.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        status: int = 400,
        error_class: type[ClientError] = ClientError,
        **response: Any,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.response = response
        self._status = status
        self._error_class = error_class

    def to_client_error(self, operation: str) -> ClientError:
        content: Any = {
            "Error": {"Code": self.code, "Message": self.message},
            "ResponseMetadata": {"HTTPStatusCode": self._status},
            **self.response,
        }
        return self._error_class(content, operation)


def validation_error(message: str) -> RejectedError:
    return RejectedError("ValidationException", message)
