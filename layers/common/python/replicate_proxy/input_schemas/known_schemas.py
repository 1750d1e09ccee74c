"""The input schemas of models, recorded by functions that can ask Replicate, for ingest, which cannot.

They are records of the control table, `SCHEMA#<kind>/<name>`, for a version, a model or a deployment:

* `input_rules`: compressed `rules.Rules`, valid until `valid_until`. A version never changes. The latest
  version of a model can change, so the schema of a model or deployment is valid for an hour.
* `refresh_at`: when the next job of that target has the schema read again. A read is claimed by moving it, so
  that there is one read per target, and one attempt in ten minutes where reading fails.

Nothing depends on a record: the input of a model whose schema is not known passes. So a table that cannot be
reached counts as nothing known, and a write that fails is not repeated.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.input_schemas.schema import InputSchema
from replicate_proxy.observability import logger
from replicate_proxy.timed_cache import TimedCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.aws.control_table import ControlTable, Record
    from replicate_proxy.input_schemas.rules import Rules
    from replicate_proxy.ports import Clock

# The largest of 3,808 public models takes 17,112 (npm all-the-public-replicate-models 1.352.0). A read of one
# unit returns 4 kB.
MAX_RECORD_CHARACTERS = 40_000
RETRY_SECONDS = 600
_DAY_SECONDS = 24 * 3600
_VERSION_VALID_SECONDS = 90 * _DAY_SECONDS
_VERSION_REFRESH_SECONDS = 60 * _DAY_SECONDS
_MODEL_VALID_SECONDS = 3600
# Before it ends to be valid, so that a busy model is always validated.
_MODEL_REFRESH_SECONDS = 2700
_VERSION_PREFIX = "versions/"
_MAX_CACHED = 200
# How long a schema, and the absence of one, is taken from memory.
_CACHE_SECONDS = 60.0
_MISSING_CACHE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class _Known:
    """A record; the schema is None if it could not be read."""

    schema: InputSchema | None = None
    valid_until: int = 0
    refresh_at: int = 0


class KnownSchemas:
    """Finds, claims and records schemas by target: `models/<name>`, `versions/<id>`, `deployments/<name>`."""

    def __init__(
        self, table: ControlTable, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = table
        self._clock = clock
        self._cache: TimedCache[_Known] = TimedCache(_MAX_CACHED, monotonic=monotonic)

    def find(self, target: str) -> InputSchema | None:
        """Return the schema, None if none is known."""
        known = self._read(target)
        return known.schema if known.valid_until > self._now() else None

    def find_fields(self, target: str) -> tuple[str, ...]:
        """Return the fields of the schema, none if it is not known."""
        schema = self.find(target)
        return schema.names if schema is not None else ()

    def is_due(self, target: str) -> bool:
        """Return whether the schema should be read from Replicate. The next calls of a while return False."""
        known = self._read(target)
        if known.refresh_at > self._now():
            return False
        self._remember(target, _Known(known.schema, known.valid_until, self._now() + RETRY_SECONDS))
        return True

    def claim(self, target: str) -> bool:
        """Return whether the caller is the one to read the schema now."""
        now = self._now()
        values = {"refresh_at": now + RETRY_SECONDS, "now": now, "expires_at": now + _VERSION_VALID_SECONDS}
        try:
            self._table.update(
                _key(target),
                "SET refresh_at = :refresh_at, expires_at = :expires_at",
                values,
                condition="attribute_not_exists(refresh_at) OR refresh_at <= :now",
            )
        except (ConflictError, RetryableError) as error:
            logger.info("input schema not claimed", reason=type(error).__name__)
            return False
        return True

    def record(self, target: str, rules: Rules | None) -> None:
        """Record the rules, or that the model has none."""
        now, is_version = self._now(), target.startswith(_VERSION_PREFIX)
        text = _encode(rules) if rules is not None else ""
        if len(text) > MAX_RECORD_CHARACTERS:
            logger.info("input schema not recorded, too large", characters=len(text))
            text = ""
        values: dict[str, str | int] = {
            "input_rules": text,
            "valid_until": now + (_VERSION_VALID_SECONDS if is_version else _MODEL_VALID_SECONDS),
            "refresh_at": now + (_VERSION_REFRESH_SECONDS if is_version else _MODEL_REFRESH_SECONDS),
            "expires_at": now + _VERSION_VALID_SECONDS,
        }
        try:
            self._table.set_attributes(_key(target), values)
        except RetryableError as error:
            logger.warning("input schema not recorded", reason=str(error))
            return
        self._remember(target, _parse(values))

    def _read(self, target: str) -> _Known:
        fresh = self._cache.find_fresh(target)
        if fresh is not None:
            return fresh
        cached = self._cache.find(target)
        try:
            known = _parse(self._table.read(_key(target)))
        except RetryableError as error:
            logger.warning("input schema not read", reason=str(error))
            return cached or _Known()
        if cached is not None and cached.valid_until == known.valid_until:
            # The same record: keep the validator that was built for it.
            known = _Known(cached.schema, known.valid_until, known.refresh_at)
        self._remember(target, known)
        return known

    def _remember(self, target: str, known: _Known) -> None:
        seconds = _CACHE_SECONDS if known.schema else _MISSING_CACHE_SECONDS
        self._cache.put(target, known, seconds)

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


def _key(target: str) -> str:
    return f"SCHEMA#{target}"


def _parse(record: Record) -> _Known:
    text = str(record.get("input_rules", ""))
    schema = InputSchema(_decode(text)) if text else None
    return _Known(schema, int(record.get("valid_until", 0)), int(record.get("refresh_at", 0)))


def _encode(rules: Rules) -> str:
    text = json.dumps(rules, separators=(",", ":"))
    return base64.b85encode(zlib.compress(text.encode(), 9)).decode()


def _decode(text: str) -> dict[str, Any]:
    rules: dict[str, Any] = json.loads(zlib.decompress(base64.b85decode(text)))
    return rules
