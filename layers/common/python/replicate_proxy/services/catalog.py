"""What passes through to Replicate, by allow-list; anything else is not there. Pure.

Source of paths and parameters: Replicate's OpenAPI document; `cursor` comes with the `next` of its pages.

A bounded cache of replies in the memory of one function. Pure.

Replicate's read-only endpoints, passed through with our token, a short memory and our own addresses.
"""

from __future__ import annotations

import json
import re
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.errors import ApiError, InvalidField, NotFoundError, RetryableError
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.replicate_api.errors import (
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    UnexpectedResponseError,
    UpstreamUnavailableError,
)
from replicate_proxy.replicate_api.response import UpstreamResponse, parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping


_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
"""Letters and digits first: no `..`, no empty segment, nothing that could mean another path or host."""

_LONGEST_VALUE = 1000
_SECONDS_IN_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class CatalogRoute:
    """One GET, on our side and Replicate's alike. `lifetime` is in seconds; None means the usual one."""

    resource: str
    query_parameters: frozenset[str] = field(default_factory=frozenset)
    cache_seconds: float | None = None

    def build_path(self, params: Mapping[str, str]) -> str:
        """Replicate's path. Raises NotFoundError where a segment is no name."""
        path = self.resource
        for name, value in params.items():
            if not _SEGMENT.fullmatch(value):
                raise NotFoundError("no such model, version or collection")
            path = path.replace(f"{{{name}}}", value)
        return path

    def build_query(self, given: Mapping[str, str]) -> dict[str, str]:
        """Replicate's query. Raises a 400 ApiError that names each parameter that has no place here."""
        wrong = [
            InvalidField("unknown_parameter", name, f"{name[:100]} is not a parameter of this endpoint")
            for name in given
            if name not in self.query_parameters
        ] + [
            InvalidField("too_long", name, f"{name} must have at most {_LONGEST_VALUE} characters")
            for name, value in given.items()
            if name in self.query_parameters and len(value) > _LONGEST_VALUE
        ]
        if wrong:
            detail = "; ".join(entry.description for entry in wrong)
            raise ApiError(400, "Invalid parameter", detail, invalid_fields=wrong)
        return dict(sorted(given.items()))


_PAGED = frozenset({"cursor"})

CATALOG_ROUTES = (
    CatalogRoute("/v1/models", frozenset({"cursor", "sort_by", "sort_direction"})),
    CatalogRoute("/v1/models/{owner}/{name}"),
    CatalogRoute("/v1/models/{owner}/{name}/versions", _PAGED),
    CatalogRoute("/v1/models/{owner}/{name}/versions/{version}", cache_seconds=_SECONDS_IN_HOUR),
    CatalogRoute("/v1/models/{owner}/{name}/examples", _PAGED),
    CatalogRoute("/v1/models/{owner}/{name}/readme"),
    CatalogRoute("/v1/collections", _PAGED),
    CatalogRoute("/v1/collections/{slug}"),
    CatalogRoute("/v1/hardware", cache_seconds=_SECONDS_IN_HOUR),
    CatalogRoute("/v1/account", cache_seconds=_SECONDS_IN_HOUR),
    CatalogRoute("/v1/search", frozenset({"query", "limit"})),
)


@dataclass(frozen=True, slots=True)
class CachedReply:
    """`fresh_for` is in seconds, and negative once the reply is out of date."""

    reply: UpstreamResponse
    fresh_seconds: float


class ReplyCache:
    """Holds `max_bytes` of bodies at most; those not asked for longest go first.

    Out-of-date replies stay until then: one is better than none while Replicate cannot be reached.
    """

    def __init__(self, max_bytes: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._entries: OrderedDict[Hashable, tuple[UpstreamResponse, float]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> CachedReply | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        reply, fresh_until = entry
        return CachedReply(reply, fresh_until - self._monotonic())

    def put(self, key: Hashable, reply: UpstreamResponse, seconds: float) -> None:
        """Keeps the reply, unless it alone is larger than a quarter of the cache."""
        self._drop(key)
        if _weight(reply) > self._max_bytes // 4:
            return
        self._entries[key] = (reply, self._monotonic() + seconds)
        self._bytes += _weight(reply)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _weight(entry[0])


def _weight(reply: UpstreamResponse) -> int:
    # An empty body takes room as well: headers, key, bookkeeping.
    return len(reply.body) + 1024


_OK = 200
_CLIENT_ERROR = 400
_RETRY_AFTER = 5
_LARGEST_ANSWER = 5_500_000
"""Bytes; Lambda answers with 6 MB at most, envelope and escapes included."""


class ReplicateReader(Protocol):
    """`RetryingClient.read`: 2xx and 4xx as they came, all else as errors of `replicate_api.errors`."""

    def read(self, path: str, query: Mapping[str, str] | None = None) -> UpstreamResponse: ...


class ReadLimiter(Protocol):
    """Keeps curious callers from using up the read limit that running jobs need."""

    def acquire_slot(self) -> float: ...


@dataclass(frozen=True, slots=True)
class CatalogSettings:
    """`lifetime` (seconds) is how long a reply is fresh; `origins` are what Replicate's URLs start with."""

    cache_seconds: float = 60.0
    origins: tuple[str, ...] = ("https://api.replicate.com",)


@dataclass(frozen=True, slots=True)
class CatalogReply:
    """What the caller gets."""

    status: int
    body: str
    content_type: str
    max_age_seconds: int


class Catalog:
    """Raises ApiError for what is not the caller's doing: our token refused, Replicate throttling or down."""

    def __init__(
        self, reader: ReplicateReader, limit: ReadLimiter, cache: ReplyCache, settings: CatalogSettings
    ) -> None:
        self._reader = reader
        self._limit = limit
        self._cache = cache
        self._settings = settings

    def get(
        self, entry: CatalogRoute, params: Mapping[str, str], query: Mapping[str, str], base_url: str
    ) -> CatalogReply:
        """`base_url` takes the place of Replicate's origin in every address of the body."""
        path, wanted = entry.build_path(params), entry.build_query(query)
        key = (path, tuple(wanted.items()))
        cached = self._cache.get(key)
        if cached is not None and cached.fresh_seconds > 0:
            return self._answer(cached.reply, base_url, cached.fresh_seconds)
        lifetime = self._settings.cache_seconds if entry.cache_seconds is None else entry.cache_seconds
        try:
            reply = self._ask(path, wanted)
        except RetryableError as error:
            return self._answer(_last_known(cached, error), base_url, 0)
        except (RejectedError, UnexpectedResponseError) as error:
            raise ApiError(502, "Bad gateway", "Replicate's answer could not be understood") from error
        if reply.status != _OK:
            return self._answer(reply, base_url, 0)
        self._cache.put(key, reply, lifetime)
        return self._answer(reply, base_url, lifetime)

    def _ask(self, path: str, query: Mapping[str, str]) -> UpstreamResponse:
        wait = self._limit.acquire_slot()
        if wait > 0:
            raise ThrottledError("the catalog's share of Replicate's read limit is used up", retry_after=wait)
        return self._reader.read(path, query)

    def _answer(self, reply: UpstreamResponse, base_url: str, fresh_for: float) -> CatalogReply:
        content_type = reply.headers.get("content-type", "application/json")
        if "json" in content_type:
            body = self._own_addresses(reply, base_url)
        elif reply.status >= _CLIENT_ERROR:
            raise ApiError(
                reply.status, "Request rejected", "Replicate refused the request without saying why"
            )
        else:
            body = reply.body.decode("utf-8", "replace")
        if len(body.encode()) > _LARGEST_ANSWER:
            raise ApiError(502, "Bad gateway", "Replicate's answer is too large to pass on")
        return CatalogReply(reply.status, body, content_type, int(fresh_for))

    def _own_addresses(self, reply: UpstreamResponse, base_url: str) -> str:
        try:
            parsed = parse_json(reply.body)
        except UpstreamUnavailableError as error:
            raise ApiError(502, "Bad gateway", "Replicate's answer could not be understood") from error
        return json.dumps(_rewritten(parsed, self._settings.origins, base_url), ensure_ascii=False)


def _last_known(cached: CachedReply | None, error: RetryableError) -> UpstreamResponse:
    """An old reply where there is one; else the failure in words that do not blame the caller."""
    logger.warning("catalog not reachable", reason=type(error).__name__, stale=cached is not None)
    if cached is not None:
        count(Metric.CACHE_UNAVAILABLE)
        return cached.reply
    if isinstance(error, TokenRejectedError):
        # Passed on as 401 it would make callers doubt their own key.
        raise ApiError(502, "Bad gateway", "The proxy could not authenticate with Replicate") from error
    seconds = max(1, round(error.retry_after or _RETRY_AFTER))
    if isinstance(error, ThrottledError):
        raise ApiError(429, "Too many requests", "Try again in a moment", retry_after=seconds) from error
    raise ApiError(503, "Service unavailable", "Replicate cannot be reached", retry_after=seconds) from error


def _rewritten(value: Any, origins: tuple[str, ...], base_url: str) -> Any:
    if isinstance(value, str):
        return next(
            (
                base_url + value.removeprefix(origin)
                for origin in origins
                if value.startswith(f"{origin}/v1/")
            ),
            value,
        )
    if isinstance(value, list):
        return [_rewritten(entry, origins, base_url) for entry in value]
    if isinstance(value, dict):
        return {key: _rewritten(entry, origins, base_url) for key, entry in value.items()}
    return value
