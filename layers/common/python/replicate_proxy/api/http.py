"""HTTP behind API Gateway's proxy integration: requests in, replies out, errors as problem+json.

API Gateway has already matched the path (`resource` names the route), so routing is one dictionary look-up.
Powertools' resolver would match paths anew and cost a cold start 76-100 ms of imports (docs/decisions.md).
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from replicate_proxy.api.cors import CorsPolicy
from replicate_proxy.auth.principal import Principal
from replicate_proxy.errors import ApiError, ConflictError, InvalidField, NotFoundError, RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.strict_json import parse_strict_json

Response = dict[str, Any]
_RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True)
class Request:
    """One call: `resource` is API Gateway's route, `headers` have lower-case names, `body` is as sent."""

    method: str
    resource: str
    path: str
    path_params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    context: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Request:
        headers = {name.lower(): str(value) for name, value in (event.get("headers") or {}).items()}
        return cls(
            method=event["httpMethod"],
            resource=event["resource"],
            path=event.get("path") or "/",
            path_params=event.get("pathParameters") or {},
            query=event.get("queryStringParameters") or {},
            headers=headers,
            body=_body(event),
            context=event.get("requestContext") or {},
        )

    @property
    def principal(self) -> Principal:
        """The authenticated caller; a 401 ApiError where the route let an anonymous one through."""
        return Principal.from_authorizer_context(self.context.get("authorizer") or {})

    @property
    def request_id(self) -> str:
        return str(self.context.get("requestId") or "")

    @property
    def base_url(self) -> str:
        """Origin plus stage or base path, as the client used it: what our own absolute URLs start with."""
        full = str(self.context.get("path") or self.path)
        host = self.context.get("domainName") or self.headers.get("host", "")
        scheme = self.headers.get("x-forwarded-proto", "https")
        return f"{scheme}://{host}{_prefix(full, self.resource)}"

    def json(self) -> Any:
        """The body as JSON. Raises a 400 ApiError that says where it breaks off."""
        try:
            parsed = parse_strict_json(self.body)
        except UnicodeDecodeError as error:
            raise ApiError(400, "Invalid body", f"The body is not UTF-8: byte {error.start}") from error
        except UnicodeEncodeError as error:
            raise ApiError(400, "Invalid JSON", "The body holds half of a surrogate pair") from error
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise ApiError(400, "Invalid JSON", f"The body is not JSON: {error.msg} at {where}") from error
        except (ValueError, RecursionError) as error:
            detail = "The body holds a number or a nesting that is out of bounds"
            raise ApiError(400, "Invalid JSON", detail) from error
        return parsed


Handler = Callable[[Request], Response]


class Router:
    """The routes of one function: `(method, resource)` to handler. `cors` None takes the environment's."""

    def __init__(self, cors: CorsPolicy | None = None) -> None:
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._cors = CorsPolicy.from_env(os.environ) if cors is None else cors

    def add(self, method: str, resource: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self._handlers[method, resource] = handler
            return handler

        return register

    def get(self, resource: str) -> Callable[[Handler], Handler]:
        return self.add("GET", resource)

    def post(self, resource: str) -> Callable[[Handler], Handler]:
        return self.add("POST", resource)

    def put(self, resource: str) -> Callable[[Handler], Handler]:
        return self.add("PUT", resource)

    def patch(self, resource: str) -> Callable[[Handler], Handler]:
        return self.add("PATCH", resource)

    def delete(self, resource: str) -> Callable[[Handler], Handler]:
        return self.add("DELETE", resource)

    def handle(self, event: Mapping[str, Any]) -> Response:
        """The reply to the event; every error becomes a problem, none escapes."""
        response = self._answer(event)
        allowed = self._cors.build_headers(_origin(event), preflight=event.get("httpMethod") == "OPTIONS")
        return {**response, "headers": {**response["headers"], **allowed}} if allowed else response

    def _answer(self, event: Mapping[str, Any]) -> Response:
        try:
            request = Request.from_event(event)
            handler = self._handlers.get((request.method, request.resource))
            if handler is None:
                raise ApiError(404, "Not found", "The requested resource could not be found")
            return handler(request)
        except Exception as error:  # noqa: BLE001 - the outermost frame: the caller gets a 500, the log the trace
            return _as_problem(error)


def json_response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON reply; `body` None makes an empty one (204)."""
    sent = {"content-type": "application/json", "cache-control": "no-store", **(headers or {})}
    text = "" if body is None else json.dumps(body, ensure_ascii=False)
    return {"statusCode": status, "headers": sent, "body": text, "isBase64Encoded": False}


def problem_response(
    status: int,
    title: str,
    detail: str,
    *,
    invalid_fields: Sequence[InvalidField] = (),
    headers: Mapping[str, str] | None = None,
    retry_after: int | None = None,
) -> Response:
    """An error in the shape Replicate uses: title, detail, status, invalid_fields, retry_after (body and
    header).
    """
    body: dict[str, Any] = {"title": title, "detail": detail, "status": status}
    sent = {"content-type": "application/problem+json", **(headers or {})}
    if invalid_fields:
        body["invalid_fields"] = [asdict(entry) for entry in invalid_fields]
    if retry_after is not None:
        body["retry_after"] = retry_after
        sent["retry-after"] = str(retry_after)
    return json_response(status, body, sent)


def _prefix(full: str, resource: str) -> str:
    """What stands before the route in the path. Parameters may be encoded or not, and hold any segment."""
    pattern = "/".join(_segment(part) for part in resource.rstrip("/").split("/"))
    found = re.fullmatch(f"(.*){pattern}", full.rstrip("/"))
    return found.group(1) if found else ""


def _segment(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    return ".+" if part.endswith("+}") else "[^/]+"


def _origin(event: Mapping[str, Any]) -> str:
    headers: Mapping[str, Any] = event.get("headers") or {}
    return next((str(value) for name, value in headers.items() if name.lower() == "origin"), "")


def _body(event: Mapping[str, Any]) -> bytes:
    text = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(text).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text)
    except ValueError as error:
        raise ApiError(400, "Invalid body", "The body is not valid base64") from error


def _as_problem(error: Exception) -> Response:
    match error:
        case ApiError():
            logger.info("request refused", status=error.status, title=error.title)
            return problem_response(
                error.status,
                error.title,
                error.detail,
                invalid_fields=error.invalid_fields,
                headers=error.headers,
                retry_after=error.retry_after,
            )
        case NotFoundError():
            return problem_response(404, "Not found", "The requested resource could not be found")
        case RetryableError() | ConflictError():
            logger.warning("request failed for now", reason=str(error))
            wait = error.retry_after if isinstance(error, RetryableError) else None
            seconds = int(wait or _RETRY_AFTER_SECONDS)
            return problem_response(503, "Service unavailable", "Try again in a moment", retry_after=seconds)
        case _:
            logger.exception("unexpected error")
            return problem_response(500, "Internal server error", "Something went wrong on our side")
