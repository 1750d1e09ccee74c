"""Predictions as Replicate sends them.

Parsing is tolerant: missing fields have defaults, an undocumented status is `UNKNOWN`, what is too long to be
saved is cut, and `raw` holds all fields. Source: Replicate's OpenAPI document, `schemas_prediction_response`.
Recorded responses lack `output` and `data_removed` on create and have `logs: null` on cancel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from replicate_proxy.replicate_api.errors import UnexpectedResponseError

# Replicate's IDs have 26 characters. An ID becomes part of a DynamoDB key, which has at most 2,048 bytes.
_MAX_ID_CHARACTERS = 128
# Names and versions are shown and compared; anything longer is neither.
_MAX_NAME_CHARACTERS = 512
_MAX_METRICS_CHARACTERS = 4000


class UpstreamStatus(StrEnum):
    """Replicate's statuses. `canceled` means ended while running, `aborted` ended before it started.

    `UNKNOWN` stands for every other word, about which nothing is known but that the prediction exists.
    """

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    ABORTED = "aborted"
    UNKNOWN = "unknown"

    @property
    def is_terminal(self) -> bool:
        return self not in (UpstreamStatus.STARTING, UpstreamStatus.PROCESSING, UpstreamStatus.UNKNOWN)


@dataclass(frozen=True, slots=True)
class UpstreamPrediction:
    """One prediction. Times are Replicate's own text (ISO 8601, 3 to 9 fractional digits) or None.

    Inputs, outputs and other content of users are left out of `repr`, so that they are never logged.
    """

    id: str
    model: str
    version: str
    status: UpstreamStatus
    input: Mapping[str, Any] = field(repr=False)
    output: Any = field(repr=False)
    error: str | None = field(repr=False)
    logs: str = field(repr=False)
    metrics: Mapping[str, Any]
    urls: Mapping[str, str] = field(repr=False)
    created_at: str | None
    started_at: str | None
    completed_at: str | None
    webhook: str | None = field(repr=False)
    data_removed: bool
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Parse a JSON object. Raise UnexpectedResponseError if it has no valid ID or no status."""
        if not isinstance(raw, Mapping):
            raise UnexpectedResponseError("a prediction must be a JSON object")
        prediction_id = raw.get("id")
        if not isinstance(prediction_id, str) or not 0 < len(prediction_id) <= _MAX_ID_CHARACTERS:
            raise UnexpectedResponseError("a prediction must have an ID")
        error = raw.get("error")
        return cls(
            id=prediction_id,
            model=_get_name(raw, "model"),
            version=_get_name(raw, "version"),
            status=_parse_status(raw.get("status")),
            input=_get_mapping(raw, "input"),
            output=raw.get("output"),
            error=error if error is None or isinstance(error, str) else json.dumps(error),
            logs=_get_text(raw, "logs") or "",
            metrics=_limit_metrics(_get_mapping(raw, "metrics")),
            urls={name: url for name, url in _get_mapping(raw, "urls").items() if isinstance(url, str)},
            created_at=_get_text(raw, "created_at"),
            started_at=_get_text(raw, "started_at"),
            completed_at=_get_text(raw, "completed_at"),
            webhook=_get_text(raw, "webhook"),
            data_removed=raw.get("data_removed") is True,
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class UpstreamPredictionPage:
    """Up to 100 of the account's predictions, newest first. `next_cursor` is None on the last page.

    `unreadable_count` entries of the page are left out, since they have no valid ID or no status.
    """

    results: tuple[UpstreamPrediction, ...]
    next_cursor: str | None
    unreadable_count: int = 0

    @classmethod
    def parse(cls, entries: Sequence[object], next_cursor: str | None) -> Self:
        """Parse a page. Raise UnexpectedResponseError if it has entries, but none that can be read."""
        results: list[UpstreamPrediction] = []
        for entry in entries:
            try:
                results.append(UpstreamPrediction.parse(entry))
            except UnexpectedResponseError:
                continue
        if entries and not results:
            raise UnexpectedResponseError("no prediction of a page can be read")
        return cls(tuple(results), next_cursor, len(entries) - len(results))


def _parse_status(value: object) -> UpstreamStatus:
    if not isinstance(value, str) or not value:
        raise UnexpectedResponseError("a prediction must have a status")
    try:
        return UpstreamStatus(value)
    except ValueError:
        return UpstreamStatus.UNKNOWN


def _get_name(raw: Mapping[str, Any], name: str) -> str:
    text = _get_text(raw, name) or ""
    return text if len(text) <= _MAX_NAME_CHARACTERS else ""


def _limit_metrics(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metrics or, if their JSON is too long to be saved with a job, as many as fit.

    Numbers come first: they are what Replicate bills by.
    """
    if len(json.dumps(metrics)) <= _MAX_METRICS_CHARACTERS:
        return metrics
    limited: dict[str, Any] = {}
    remaining = _MAX_METRICS_CHARACTERS
    for name, value in sorted(metrics.items(), key=lambda metric: not isinstance(metric[1], int | float)):
        size = len(json.dumps({name: value}))
        if size <= remaining:
            limited[name] = value
            remaining -= size
    return limited


def _get_text(raw: Mapping[str, Any], name: str) -> str | None:
    value = raw.get(name)
    return value if isinstance(value, str) else None


def _get_mapping(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}
