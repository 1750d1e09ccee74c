"""Pass Replicate's read-only endpoints through: models, collections, hardware, account and search.

Only the routes of an allow-list are passed through, with the token of the caller's account: that of its
tenant, or the shared one. Responses are cached in memory for each account, since it may see private models,
and Replicate's URLs in them are replaced by our own.
"""

from __future__ import annotations

import json
import re
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.errors import ApiError, InvalidField, NotFoundError, RetryableError, parameter_errors
from replicate_proxy.jobs.model import SHARED_ACCOUNT
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.replicate_api.errors import (
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    UnexpectedResponseError,
    UpstreamUnavailableError,
)
from replicate_proxy.replicate_api.known_models import NothingKnown
from replicate_proxy.replicate_api.response import UpstreamResponse, parse_json
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from replicate_proxy.jobs.model import Account
    from replicate_proxy.services.schema_refresh import SchemaRecorder

# The first character is a letter or digit: no `..`, no empty segment, nothing that changes path or host.
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_MAX_VALUE_CHARS = 1000
_MAX_PARAMETER_NAME_CHARS = 100
_HOUR_SECONDS = 3600.0
_OK = 200
_MIN_CLIENT_ERROR = 400
_DEFAULT_RETRY_AFTER_SECONDS = 5
# What a cached response takes besides its body: headers, key, bookkeeping.
_CACHE_ENTRY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class CatalogRoute:
    """One GET route, the same at Replicate and here. `cache_seconds` None means the default."""

    resource: str
    query_parameters: frozenset[str] = field(default_factory=frozenset)
    cache_seconds: float | None = None

    def build_path(self, path_params: Mapping[str, str]) -> str:
        """Return Replicate's path. Raises NotFoundError if a segment cannot be a name."""
        path = self.resource
        for name, value in path_params.items():
            if not _SEGMENT.fullmatch(value):
                raise NotFoundError("no such model, version or collection")
            path = path.replace(f"{{{name}}}", value)
        return path

    def build_query(self, query: Mapping[str, str]) -> dict[str, str]:
        """Return Replicate's query. Raises a 400 ApiError that names every invalid parameter."""
        invalid = [
            InvalidField(
                "unknown_parameter", name[:_MAX_PARAMETER_NAME_CHARS], "is not a parameter of this route"
            )
            for name in query
            if name not in self.query_parameters
        ] + [
            InvalidField("too_long", name, f"must have at most {_MAX_VALUE_CHARS} characters")
            for name, value in query.items()
            if name in self.query_parameters and len(value) > _MAX_VALUE_CHARS
        ]
        if invalid:
            raise parameter_errors(invalid)
        return dict(sorted(query.items()))


_CURSOR = frozenset({"cursor"})
_MODEL_RESOURCE = "/v1/models/{owner}/{name}"
_VERSION_RESOURCE = f"{_MODEL_RESOURCE}/versions/{{version}}"
# Resources of what a prediction can name, and what it is called where missing ones are recorded.
_NAMED_TARGETS = {_MODEL_RESOURCE: "models", "/v1/deployments/{owner}/{name}": "deployments"}

# Source: Replicate's OpenAPI document; `cursor` is in the `next` URLs of its pages.
CATALOG_ROUTES = (
    CatalogRoute("/v1/models", frozenset({"cursor", "sort_by", "sort_direction"})),
    CatalogRoute(_MODEL_RESOURCE),
    CatalogRoute("/v1/models/{owner}/{name}/versions", _CURSOR),
    CatalogRoute(_VERSION_RESOURCE, cache_seconds=_HOUR_SECONDS),
    CatalogRoute("/v1/models/{owner}/{name}/examples", _CURSOR),
    CatalogRoute("/v1/models/{owner}/{name}/readme"),
    CatalogRoute("/v1/deployments", _CURSOR),
    CatalogRoute("/v1/deployments/{owner}/{name}"),
    CatalogRoute("/v1/collections", _CURSOR),
    CatalogRoute("/v1/collections/{slug}"),
    CatalogRoute("/v1/hardware", cache_seconds=_HOUR_SECONDS),
    CatalogRoute("/v1/account", cache_seconds=_HOUR_SECONDS),
    CatalogRoute("/v1/search", frozenset({"query", "limit"})),
)


class ReplicateReader(Protocol):
    """Reads from Replicate: `RetryingClient`.

    Returns 2xx and 4xx responses; everything else is an exception of replicate_api.errors.
    """

    def read(self, path: str, query: Mapping[str, str] | None = None) -> UpstreamResponse: ...


class ModelRecorder(Protocol):
    """Records what a response says about models, for functions that cannot ask Replicate."""

    def record_version(self, version_id: str, model: str, account: Account) -> None: ...

    def record_missing(self, target: str, account: Account) -> None: ...


class ReadLimiter(Protocol):
    """Limits the rate of catalog reads, so that running jobs have enough of Replicate's read limit left."""

    def acquire_slot(self) -> float:
        """Return 0 if a slot was free, else the seconds after which to try again."""
        ...


@dataclass(frozen=True, slots=True)
class CatalogSettings:
    """`cache_seconds` is the default; `replicate_origins` are what Replicate's URLs start with."""

    cache_seconds: float = 60.0
    replicate_origins: tuple[str, ...] = ("https://api.replicate.com",)


@dataclass(frozen=True, slots=True)
class CatalogResponse:
    """The response to the caller; `max_age_seconds` is how long the caller may cache it."""

    status: int
    body: str
    content_type: str
    max_age_seconds: int


class Catalog:
    """Answers catalog requests from the cache or from Replicate."""

    def __init__(
        self,
        get_reader: Callable[[Account], ReplicateReader],
        get_limiter: Callable[[Account], ReadLimiter],
        cache: ResponseCache,
        settings: CatalogSettings,
        known_models: ModelRecorder | None = None,
        schemas: SchemaRecorder | None = None,
        find_account: Callable[[str], Account] = lambda _tenant: SHARED_ACCOUNT,
    ) -> None:
        self._get_reader = get_reader
        self._get_limiter = get_limiter
        self._find_account = find_account
        self._cache = cache
        self._settings = settings
        self._known_models = known_models or NothingKnown()
        self._schemas = schemas

    def get(
        self,
        route: CatalogRoute,
        path_params: Mapping[str, str],
        query: Mapping[str, str],
        base_url: str,
        tenant: str,
    ) -> CatalogResponse:
        """Return the response, with `base_url` in place of Replicate's origin in every URL.

        Raises an ApiError if our token is rejected, or if Replicate throttles us or is unavailable and
        nothing is cached.
        """
        path, upstream_query = route.build_path(path_params), route.build_query(query)
        account = self._find_account(tenant)
        key = (account, path, tuple(upstream_query.items()))
        cached = self._cache.get(key)
        if cached is not None and cached.fresh_seconds > 0:
            return self._build_response(cached.response, base_url, cached.fresh_seconds)
        try:
            response = self._read(account, path, upstream_query)
        except RetryableError as error:
            return self._build_response(_get_stale_response(cached, error), base_url, 0)
        except (RejectedError, UnexpectedResponseError) as error:
            raise build_unreadable_error() from error
        self._record_known_models(route.resource, path_params, response, account)
        if response.status != _OK:
            return self._build_response(response, base_url, 0)
        cache_seconds = self._settings.cache_seconds if route.cache_seconds is None else route.cache_seconds
        self._cache.put(key, response, cache_seconds)
        return self._build_response(response, base_url, cache_seconds)

    def _record_known_models(
        self, resource: str, path_params: Mapping[str, str], response: UpstreamResponse, account: Account
    ) -> None:
        name = f"{path_params.get('owner')}/{path_params.get('name')}"
        if response.status == HTTPStatus.NOT_FOUND and resource in _NAMED_TARGETS:
            self._known_models.record_missing(f"{_NAMED_TARGETS[resource]}/{name}", account)
        elif response.status == _OK and resource == _VERSION_RESOURCE:
            self._known_models.record_version(path_params["version"], name, account)
        self._record_schema(resource, path_params, name, response, account)

    def _record_schema(
        self,
        resource: str,
        path_params: Mapping[str, str],
        name: str,
        response: UpstreamResponse,
        account: Account,
    ) -> None:
        if self._schemas is None or response.status != _OK:
            return
        if resource == _MODEL_RESOURCE:
            self._schemas.record_model(name, response.body, account)
        elif resource == _VERSION_RESOURCE:
            self._schemas.record_version(path_params["version"], response.body, account)

    def _read(self, account: Account, path: str, query: Mapping[str, str]) -> UpstreamResponse:
        delay_seconds = self._get_limiter(account).acquire_slot()
        if delay_seconds > 0:
            raise ThrottledError(
                "the catalog's share of Replicate's read limit is used up", retry_after=delay_seconds
            )
        return self._get_reader(account).read(path, query)

    def _build_response(
        self, response: UpstreamResponse, base_url: str, max_age_seconds: float
    ) -> CatalogResponse:
        content_type = response.headers.get("content-type", "application/json")
        if "json" in content_type:
            body = self._replace_urls(response, base_url)
        elif response.status >= _MIN_CLIENT_ERROR:
            raise ApiError(
                response.status, "Request rejected", "Replicate rejected the request without a reason"
            )
        else:
            body = response.body.decode("utf-8", "replace")
        if calculate_sent_bytes(body) > MAX_RESPONSE_BYTES:
            raise ApiError(502, "Bad gateway", "Replicate's response is too large to pass on")
        return CatalogResponse(response.status, body, content_type, int(max_age_seconds))

    def _replace_urls(self, response: UpstreamResponse, base_url: str) -> str:
        try:
            parsed = parse_json(response.body)
            replaced = _replace_origins(parsed, self._settings.replicate_origins, base_url)
            return json.dumps(replaced, ensure_ascii=False)
        except (UpstreamUnavailableError, UnexpectedResponseError, RecursionError) as error:
            raise build_unreadable_error() from error


def build_unreadable_error() -> ApiError:
    """Return the 502 for a response of Replicate that is not what it should be."""
    return ApiError(502, "Bad gateway", "Replicate's response could not be understood")


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A cached response; `fresh_seconds` is how long it stays fresh, negative once it is stale."""

    response: UpstreamResponse
    fresh_seconds: float


class ResponseCache:
    """A least-recently-used cache of at most `max_bytes`, in the memory of one execution environment.

    Stale responses stay until they are evicted, because they are served while Replicate is unavailable.
    """

    def __init__(self, max_bytes: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._entries: OrderedDict[Hashable, tuple[UpstreamResponse, float]] = OrderedDict()
        self._size_bytes = 0

    def get(self, key: Hashable) -> CachedResponse | None:
        """Return the cached response, fresh or stale."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        response, fresh_until = entry
        return CachedResponse(response, fresh_until - self._monotonic())

    def put(self, key: Hashable, response: UpstreamResponse, fresh_seconds: float) -> None:
        """Store the response, unless it would take more than a quarter of the cache."""
        self._remove(key)
        size_bytes = _calculate_size_bytes(response)
        if size_bytes > self._max_bytes // 4:
            return
        self._entries[key] = (response, self._monotonic() + fresh_seconds)
        self._size_bytes += size_bytes
        while self._size_bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= _calculate_size_bytes(entry[0])


def _calculate_size_bytes(response: UpstreamResponse) -> int:
    return len(response.body) + _CACHE_ENTRY_BYTES


def _get_stale_response(cached: CachedResponse | None, error: RetryableError) -> UpstreamResponse:
    """Return the stale response. Without one, raise an ApiError that does not blame the caller."""
    logger.warning(
        "Replicate unavailable for catalog", reason=type(error).__name__, has_stale=cached is not None
    )
    if cached is not None:
        count(Metric.STALE_RESPONSE_SERVED)
        return cached.response
    if isinstance(error, TokenRejectedError):
        # A 401 would make callers doubt their own key.
        raise ApiError(502, "Bad gateway", "The proxy could not authenticate with Replicate") from error
    seconds = max(1, round(error.retry_after or _DEFAULT_RETRY_AFTER_SECONDS))
    if isinstance(error, ThrottledError):
        raise ApiError(429, "Too many requests", "Try again in a moment", retry_after=seconds) from error
    raise ApiError(503, "Service unavailable", "Replicate is unavailable", retry_after=seconds) from error


def _replace_origins(value: Any, replicate_origins: tuple[str, ...], base_url: str) -> Any:
    """Return the JSON value with `base_url` in place of Replicate's origin in texts that are API URLs."""
    if isinstance(value, str):
        for origin in replicate_origins:
            if value.startswith(f"{origin}/v1/"):
                return base_url + value.removeprefix(origin)
        return value
    if isinstance(value, list):
        return [_replace_origins(entry, replicate_origins, base_url) for entry in value]
    if isinstance(value, dict):
        return {key: _replace_origins(entry, replicate_origins, base_url) for key, entry in value.items()}
    return value
