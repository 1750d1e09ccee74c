"""Filters of jobs: the parameters of a list, and the same names in the body of a bulk operation."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.api.query_parameters import TIME_RULE, parse_time
from replicate_proxy.auth.tenants import TENANT_NAME_RULE, is_tenant_name
from replicate_proxy.errors import field_error, parameter_error
from replicate_proxy.ids import is_id
from replicate_proxy.jobs.job_filter import JobFilter
from replicate_proxy.jobs.metadata import parse_metadata
from replicate_proxy.jobs.model import ACTIVE_STATUSES, EndReason, JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from replicate_proxy.errors import ApiError

_SECONDS_PATTERN = re.compile(r"[0-9]{1,9}")
_UNFINISHED = "unfinished"
_STATUSES = (*JobStatus, _UNFINISHED)
FILTER_PARAMETERS = (
    *("status", "tenant", "model", "key", "batch", "metadata", "error_class"),
    *("older_than", "created_after", "created_before"),
)

type _BuildError = Callable[..., ApiError]


def parse_filter_parameters(query: Mapping[str, str], now: datetime) -> JobFilter:
    """Return the filter that query parameters describe. Raises a 400 ApiError that names the parameter."""
    return _FilterParser(query, parameter_error).parse(now)


def parse_filter_fields(fields: Mapping[str, str], now: datetime) -> JobFilter:
    """Return the filter that the fields of a body describe. Raises a 422 ApiError that names the field."""
    return _FilterParser(fields, _build_field_error).parse(now)


def _build_field_error(name: str, rule: str, *, error_type: str = "invalid") -> ApiError:
    return field_error(f"filter.{name}", rule, error_type=error_type)


class _FilterParser:
    """Parses texts by name; empty ones count as missing."""

    def __init__(self, values: Mapping[str, str], build_error: _BuildError) -> None:
        self._values = values
        self._build_error = build_error

    def parse(self, now: datetime) -> JobFilter:
        tenant = self._values.get("tenant") or None
        if tenant is not None and not is_tenant_name(tenant):
            raise self._build_error("tenant", TENANT_NAME_RULE)
        end_reason = self._parse_error_class()
        statuses = self._parse_statuses()
        bounds = [
            bound for bound in (self._parse_time("created_before"), self._parse_older_than(now)) if bound
        ]
        return JobFilter(
            # Nearly all jobs with a class are failed ones, which have an index.
            statuses=frozenset({JobStatus.FAILED}) if end_reason and not statuses else statuses,
            tenant=tenant,
            model=self._values.get("model") or None,
            key_id=self._values.get("key") or None,
            batch_id=self._parse_batch(),
            metadata=self._parse_metadata(),
            end_reason=end_reason,
            created_after=self._parse_time("created_after"),
            created_before=min(bounds, default=None),
        )

    def _parse_statuses(self) -> frozenset[JobStatus]:
        """Return the statuses of `status`, a list with commas."""
        names = [name for name in self._values.get("status", "").split(",") if name]
        if any(name not in _STATUSES for name in names):
            raise self._build_error("status", f"must be some of {', '.join(_STATUSES)}, with commas")
        statuses = frozenset(JobStatus(name) for name in names if name != _UNFINISHED)
        return statuses | ACTIVE_STATUSES if _UNFINISHED in names else statuses

    def _parse_batch(self) -> str | None:
        batch_id = self._values.get("batch") or None
        if batch_id is not None and not is_id(batch_id):
            raise self._build_error("batch", "must be the ID of a batch")
        return batch_id

    def _parse_metadata(self) -> dict[str, str]:
        """Return the pairs of `metadata`, which has the form of the header `X-Metadata`."""
        text = self._values.get("metadata")
        try:
            return parse_metadata(text) if text else {}
        except ValueError as error:
            raise self._build_error("metadata", str(error)) from None

    def _parse_error_class(self) -> EndReason | None:
        name = self._values.get("error_class")
        if not name:
            return None
        if name not in EndReason:
            raise self._build_error("error_class", f"must be one of {', '.join(EndReason)}")
        return EndReason(name)

    def _parse_older_than(self, now: datetime) -> datetime | None:
        text = self._values.get("older_than")
        if not text:
            return None
        if not _SECONDS_PATTERN.fullmatch(text):
            raise self._build_error("older_than", "must be a number of seconds")
        return now - timedelta(seconds=int(text))

    def _parse_time(self, name: str) -> datetime | None:
        text = self._values.get(name)
        if not text:
            return None
        try:
            return parse_time(text)
        except ValueError:
            raise self._build_error(name, TIME_RULE, error_type="invalid_time") from None
