"""Route API Gateway events to handlers.

API Gateway has already matched the path: the event's `resource` is the route template, so routing is one
dictionary look-up. Powertools' resolver would match paths again and add 76-100 ms of imports to a cold start
(docs/decisions/0006-routing-is-a-dictionary-lookup.md).

Two resources, `/admin/{proxy+}` and `/v1/webhooks/{proxy+}`, catch everything below them; only their events
are matched to templates here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.cors import CorsPolicy
from replicate_proxy.api.http import Request, Response, problem_from_error
from replicate_proxy.errors import ApiError, InvalidField, parameter_errors
from replicate_proxy.observability import Metric, logger, measure_seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence


type Handler = Callable[[Request], Response]

_CATCH_ALL = "{proxy+}"
# The path of a stream is what lets its holder read it.
_UNLOGGED_RESOURCE = "/streams/{proxy+}"
# Every ID and name in a path has this form. Others find nothing, and may be too long for a key of a table.
_PATH_PARAMETER = re.compile(r"[A-Za-z0-9._~-]{1,200}", re.ASCII)


class Router:
    """The handlers of one function by method and resource.

    Our absolute URLs start with `public_base_url`; if it is empty, they follow the host of each request.
    `cors` None reads the policy from the environment. `build_error_response` makes the response to an
    exception.
    """

    def __init__(
        self,
        *,
        public_base_url: str = "",
        cors: CorsPolicy | None = None,
        build_error_response: Callable[[Exception], Response] = problem_from_error,
    ) -> None:
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._query_parameters: dict[tuple[str, str], frozenset[str]] = {}
        self._groups: dict[str, Callable[[Router], None]] = {}
        self._public_base_url = public_base_url.rstrip("/")
        self._cors = CorsPolicy.from_env(os.environ) if cors is None else cors
        self._build_error_response = build_error_response

    @property
    def routes(self) -> Collection[tuple[str, str]]:
        """The registered pairs of method and resource."""
        self._add_all_groups()
        return self._handlers.keys()

    @property
    def query_parameters(self) -> Mapping[tuple[str, str], Collection[str]]:
        """The query parameters of the routes that accept no others, by method and resource."""
        self._add_all_groups()
        return self._query_parameters

    def add_group(self, prefix: str, add_routes: Callable[[Router], None]) -> None:
        """Have the routes whose resource begins with the prefix added before the first request for one.

        So a cold start does not load what only other requests need.
        """
        self._groups[prefix] = add_routes

    def _add_all_groups(self) -> None:
        for prefix in tuple(self._groups):
            self._add_group_of(prefix)

    def _add_group_of(self, resource: str) -> None:
        for prefix in [prefix for prefix in self._groups if resource.startswith(prefix)]:
            add_routes = self._groups[prefix]
            add_routes(self)
            # Afterwards: if it fails, the next request tries again.
            del self._groups[prefix]

    def add(
        self, method: str, resource: str, *, query: Collection[str] | None = None
    ) -> Callable[[Handler], Handler]:
        """Return a decorator that registers a handler.

        With `query`, the names of the route's query parameters, a request with another one, or with the same
        one twice, gets a 400: a filter that is ignored would return what the caller did not ask for. A name
        like `metadata.{name}` stands for all that begin like it.
        """

        def register(handler: Handler) -> Handler:
            self._handlers[method, resource] = handler
            if query is not None:
                self._query_parameters[method, resource] = frozenset(query)
            return handler

        return register

    def get(self, resource: str, *, query: Collection[str] | None = None) -> Callable[[Handler], Handler]:
        return self.add("GET", resource, query=query)

    def head(self, resource: str) -> Callable[[Handler], Handler]:
        return self.add("HEAD", resource)

    def post(self, resource: str) -> Callable[[Handler], Handler]:
        return self.add("POST", resource)

    def put(self, resource: str) -> Callable[[Handler], Handler]:
        return self.add("PUT", resource)

    def patch(self, resource: str) -> Callable[[Handler], Handler]:
        return self.add("PATCH", resource)

    def delete(self, resource: str) -> Callable[[Handler], Handler]:
        return self.add("DELETE", resource)

    def handle(self, event: Mapping[str, Any]) -> Response:
        """Return the response to an event. Every exception becomes an error response."""
        authorizer = (event.get("requestContext") or {}).get("authorizer") or {}
        logger.append_keys(
            tenant=authorizer.get("tenant"), method=event.get("httpMethod"), path=_get_logged_path(event)
        )
        response = self._respond(event)
        # What a request has done is logged where it is done, and ApiSeconds counts the requests by route.
        is_error = response["statusCode"] >= HTTPStatus.BAD_REQUEST
        (logger.info if is_error else logger.debug)("request handled", status=response["statusCode"])
        is_preflight = event.get("httpMethod") == "OPTIONS"
        cors_headers = self._cors.build_headers(_get_origin(event), preflight=is_preflight)
        return {**response, "headers": {**response["headers"], **cors_headers}} if cors_headers else response

    def _respond(self, event: Mapping[str, Any]) -> Response:
        try:
            self._add_group_of(str(event["resource"]))
            request = Request.from_event(
                self._resolve_catch_all(event), public_base_url=self._public_base_url
            )
            handler = self._handlers.get((request.method, request.resource))
            if handler is None or not _has_valid_path_params(request):
                raise ApiError(404, "Not found", "The requested resource could not be found")
            with measure_seconds(Metric.API_SECONDS, route=f"{request.method} {request.resource}"):
                self._check_query(request, event.get("multiValueQueryStringParameters") or {})
                return handler(request)
        except Exception as error:  # noqa: BLE001 - outermost frame: the caller gets a 500, the log the trace
            return self._build_error_response(error)

    def _check_query(self, request: Request, sent: Mapping[str, Sequence[str]]) -> None:
        """Raise a 400 ApiError for parameters that the route lacks, or that were `sent` more than once."""
        known = self._query_parameters.get((request.method, request.resource))
        if known is None:
            return
        prefixes = tuple(name.partition("{")[0] for name in known if "{" in name)
        unknown = sorted(name for name in set(request.query) - known if not name.startswith(prefixes))
        if unknown:
            description = f"is not a parameter of this route; it has {', '.join(sorted(known)) or 'none'}"
            raise parameter_errors([InvalidField("unknown_parameter", name, description) for name in unknown])
        repeated = sorted(name for name, values in sent.items() if len(values) > 1)
        if repeated:
            description = "must be sent only once"
            raise parameter_errors(
                [InvalidField("repeated_parameter", name, description) for name in repeated]
            )

    def _resolve_catch_all(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the event as if API Gateway had matched a registered template below a catch-all resource.

        The event is returned unchanged if its resource is registered itself, or if no template matches.
        """
        method, catch_all = event["httpMethod"], str(event["resource"])
        if not catch_all.endswith(_CATCH_ALL) or (method, catch_all) in self._handlers:
            return event
        prefix = catch_all.removesuffix(_CATCH_ALL)
        segments = str((event.get("pathParameters") or {}).get("proxy") or "").split("/")
        for resource in self._find_resources(method, prefix):
            path_params = _match(resource.removeprefix(prefix).split("/"), segments)
            if path_params is not None:
                return {**event, "resource": resource, "pathParameters": path_params}
        return event

    def _find_resources(self, method: str, prefix: str) -> Iterable[str]:
        return (
            resource
            for registered_method, resource in self._handlers
            if registered_method == method and resource.startswith(prefix)
        )


def _match(template: list[str], segments: list[str]) -> dict[str, str] | None:
    """Return the path parameters, None if the path does not match the template."""
    if len(template) != len(segments) or not all(segments):
        return None
    path_params: dict[str, str] = {}
    for expected, segment in zip(template, segments, strict=True):
        if expected.startswith("{"):
            path_params[expected.strip("{}")] = segment
        elif expected != segment:
            return None
    return path_params


def _has_valid_path_params(request: Request) -> bool:
    """Return whether each path parameter can be an ID or a name; a catch-all is the handler's own matter."""
    return request.resource.endswith(_CATCH_ALL) or all(
        _PATH_PARAMETER.fullmatch(text) for text in request.path_params.values()
    )


def _get_logged_path(event: Mapping[str, Any]) -> str | None:
    """Return the path without what is a secret: that of a stream is."""
    resource = event.get("resource")
    return resource if resource == _UNLOGGED_RESOURCE else event.get("path")


def _get_origin(event: Mapping[str, Any]) -> str:
    headers: Mapping[str, Any] = event.get("headers") or {}
    return next((str(value) for name, value in headers.items() if name.lower() == "origin"), "")
