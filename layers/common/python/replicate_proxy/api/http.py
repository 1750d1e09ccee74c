"""HTTP requests and responses of API Gateway's Lambda proxy integration.

Errors are sent as `application/problem+json` in the shape that Replicate uses: `title`, `detail`, `status`,
and where they apply `invalid_fields` and `retry_after`.
"""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.principal import Principal
from replicate_proxy.errors import (
    ApiError,
    ConflictError,
    InvalidField,
    NotFoundError,
    RetryableError,
    UnconfirmedWriteError,
    UnknownNameError,
)
from replicate_proxy.observability import logger
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes
from replicate_proxy.strict_json import parse_strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


type Response = dict[str, Any]
"""A response as the integration expects it: statusCode, headers, body, isBase64Encoded."""

_DEFAULT_RETRY_AFTER_SECONDS = 5
_MAX_BODY_BYTES = 256_000
_UNCONFIRMED_DETAIL = (
    "It is not certain that nothing was recorded. Before you repeat the request, look in the list of"
    " predictions or batches in a minute; with an Idempotency-Key, a request is safe to repeat"
)
# Without it, version 2 of Replicate's Python client repeats every request that gets a 5xx, creates included.
_NO_AUTOMATIC_RETRY = {"x-should-retry": "false"}


@dataclass(frozen=True)
class Request:
    """One HTTP request.

    `resource` is API Gateway's route template (`/v1/predictions/{id}`), `query` the query parameters,
    `headers` have lower-case names, `body` is the bytes as sent, `context` the event's `requestContext`.
    `public_base_url` is the configured URL of the API, empty if it follows the request's host.
    """

    method: str
    resource: str
    path: str
    path_params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    context: Mapping[str, Any] = field(default_factory=dict)
    public_base_url: str = ""

    @classmethod
    def from_event(cls, event: Mapping[str, Any], *, public_base_url: str = "") -> Request:
        """Build the request from an API Gateway event."""
        return cls(
            method=event["httpMethod"],
            resource=event["resource"],
            path=event.get("path") or "/",
            path_params=event.get("pathParameters") or {},
            query=event.get("queryStringParameters") or {},
            headers=_combine_headers(event),
            body=_decode_body(event),
            context=event.get("requestContext") or {},
            public_base_url=public_base_url,
        )

    @property
    def principal(self) -> Principal:
        """The authenticated caller. Raises a 401 ApiError if the route has no authorizer."""
        return Principal.from_authorizer_context(self.context.get("authorizer") or {})

    @property
    def request_id(self) -> str:
        """API Gateway's ID of the request."""
        return str(self.context.get("requestId") or "")

    @property
    def received_at(self) -> datetime | None:
        """When API Gateway received the request, None if the event does not say."""
        milliseconds = self.context.get("requestTimeEpoch")
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if isinstance(milliseconds, int) else None

    @property
    def base_url(self) -> str:
        """The start of our absolute URLs: as configured, or the request's origin and stage or base path."""
        if self.public_base_url:
            return self.public_base_url
        full_path = str(self.context.get("path") or self.path)
        host = self.context.get("domainName") or self.headers.get("host", "")
        scheme = self.headers.get("x-forwarded-proto", "https")
        return f"{scheme}://{host}{_find_path_prefix(full_path, self.resource)}"

    def json(self, *, max_bytes: int = _MAX_BODY_BYTES, advice: str = "") -> Any:
        """Parse the body as JSON.

        Raises a 400 ApiError that says where it is malformed, and a 413 ApiError above `max_bytes`, with the
        `advice` appended.
        """
        if len(self.body) > max_bytes:
            detail = f"The body has {len(self.body)} bytes, the limit is {max_bytes}{advice}"
            raise ApiError(413, "Body too large", detail)
        try:
            return parse_strict_json(self.body)
        except UnicodeDecodeError as error:
            raise ApiError(400, "Invalid body", f"The body is not UTF-8: byte {error.start}") from error
        except UnicodeEncodeError as error:
            raise ApiError(400, "Invalid JSON", "The body contains half of a surrogate pair") from error
        except json.JSONDecodeError as error:
            position = f"line {error.lineno}, column {error.colno}"
            raise ApiError(400, "Invalid JSON", f"The body is not JSON: {error.msg} at {position}") from error
        except (ValueError, RecursionError) as error:
            detail = "The body contains a number or a nesting that is out of bounds"
            raise ApiError(400, "Invalid JSON", detail) from error

    def json_or_empty(self) -> Any:
        """Parse the body as JSON; a request without a body counts as an empty object."""
        return self.json() if self.body else {}


def json_response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response; `body` None makes an empty one (204)."""
    all_headers = {"content-type": "application/json", "cache-control": "no-store", **(headers or {})}
    text = "" if body is None else json.dumps(body, ensure_ascii=False)
    if calculate_sent_bytes(text) > MAX_RESPONSE_BYTES:
        # Lambda would refuse it, and API Gateway answer 502 without a word.
        logger.error("response too large")
        return problem_response(500, "Response too large", "The response is larger than 6 MB")
    return {"statusCode": status, "headers": all_headers, "body": text, "isBase64Encoded": False}


def text_response(status: int, text: str, content_type: str) -> Response:
    """Return a response that is not JSON, such as an export."""
    if calculate_sent_bytes(text) > MAX_RESPONSE_BYTES:
        return problem_response(500, "Response too large", "The response is larger than 6 MB")
    headers = {"content-type": content_type, "cache-control": "no-store"}
    return {"statusCode": status, "headers": headers, "body": text, "isBase64Encoded": False}


def problem_response(
    status: int,
    title: str,
    detail: str,
    *,
    invalid_fields: Sequence[InvalidField] = (),
    headers: Mapping[str, str] | None = None,
    retry_after_seconds: int | None = None,
    extensions: Mapping[str, object] | None = None,
) -> Response:
    """Return an error response. `retry_after_seconds` is in the body, as at Replicate, and in a header."""
    body: dict[str, Any] = {"title": title, "detail": detail, "status": status, **(extensions or {})}
    all_headers = {"content-type": "application/problem+json", **(headers or {})}
    if invalid_fields:
        body["invalid_fields"] = [asdict(invalid_field) for invalid_field in invalid_fields]
    if retry_after_seconds is not None:
        body["retry_after"] = retry_after_seconds
        all_headers["retry-after"] = str(retry_after_seconds)
    return json_response(status, body, all_headers)


def problem_from_error(error: Exception) -> Response:
    """Translate an exception into a response that reveals nothing internal."""
    match error:
        case ApiError():
            logger.info("request rejected", status=error.status, title=error.title)
            return problem_response(
                error.status,
                error.title,
                error.detail,
                invalid_fields=error.invalid_fields,
                headers=error.headers,
                retry_after_seconds=error.retry_after,
                extensions=error.extensions,
            )
        case UnknownNameError():
            return problem_response(404, "Not found", str(error))
        case NotFoundError():
            return problem_response(404, "Not found", "The requested resource could not be found")
        case RetryableError() | ConflictError():
            logger.warning("request failed, caller may retry", reason=str(error))
            retry_after = error.retry_after if isinstance(error, RetryableError) else None
            is_unconfirmed = isinstance(error, UnconfirmedWriteError)
            return problem_response(
                503,
                "Service unavailable",
                _UNCONFIRMED_DETAIL if is_unconfirmed else "Try again in a moment",
                headers=_NO_AUTOMATIC_RETRY if is_unconfirmed else None,
                retry_after_seconds=int(retry_after or _DEFAULT_RETRY_AFTER_SECONDS),
            )
        case _:
            logger.exception("unexpected error")
            return problem_response(500, "Internal server error", "Something went wrong on our side")


def _find_path_prefix(full_path: str, resource: str) -> str:
    """Return the part of the path before the route: the stage or the base path of a custom domain.

    Path parameters match as they are, percent-encoded or not; a greedy one (`{proxy+}`) spans segments.
    """
    pattern = "/".join(_build_segment_pattern(segment) for segment in resource.rstrip("/").split("/"))
    match = re.fullmatch(f"(.*){pattern}", full_path.rstrip("/"))
    return match.group(1) if match else ""


def _build_segment_pattern(segment: str) -> str:
    if not segment.startswith("{"):
        return re.escape(segment)
    return ".+" if segment.endswith("+}") else "[^/]+"


def _combine_headers(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers; the lines of a repeated one are one list (RFC 9110, section 5.3).

    `headers` of the event has the last line of each only.
    """
    lines = event.get("multiValueHeaders") or {
        name: [value] for name, value in (event.get("headers") or {}).items()
    }
    values: defaultdict[str, list[str]] = defaultdict(list)
    for name, sent in lines.items():
        values[name.lower()] += map(str, sent)
    # HTTP/2 splits the pairs of a cookie (RFC 9113, section 8.2.3).
    return {name: ("; " if name == "cookie" else ", ").join(texts) for name, texts in values.items()}


def _decode_body(event: Mapping[str, Any]) -> bytes:
    text = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(text).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text)
    except ValueError as error:
        raise ApiError(400, "Invalid body", "The body is not valid base64") from error
