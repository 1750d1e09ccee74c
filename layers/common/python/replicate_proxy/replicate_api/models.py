"""Predictions as Replicate sends them.

Parsing is tolerant: missing fields have defaults, and `raw` holds all fields. Source: Replicate's OpenAPI
document, `schemas_prediction_response`. Recorded responses lack `output` and `data_removed` on create and
have `logs: null` on cancel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from replicate_proxy.replicate_api.errors import UnexpectedResponseError


class UpstreamStatus(StrEnum):
    """Replicate's statuses. `canceled` means ended while running, `aborted` ended before it started."""

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    ABORTED = "aborted"

    @property
    def is_terminal(self) -> bool:
        return self not in (UpstreamStatus.STARTING, UpstreamStatus.PROCESSING)


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
        """Parse a JSON object. Raise UnexpectedResponseError if its ID is missing or its status unknown."""
        if not isinstance(raw, Mapping):
            raise UnexpectedResponseError("a prediction must be a JSON object")
        prediction_id = raw.get("id")
        if not isinstance(prediction_id, str) or not prediction_id:
            raise UnexpectedResponseError("a prediction must have an ID")
        error = raw.get("error")
        return cls(
            id=prediction_id,
            model=_get_text(raw, "model") or "",
            version=_get_text(raw, "version") or "",
            status=_parse_status(raw.get("status")),
            input=_get_mapping(raw, "input"),
            output=raw.get("output"),
            error=error if error is None or isinstance(error, str) else json.dumps(error),
            logs=_get_text(raw, "logs") or "",
            metrics=_get_mapping(raw, "metrics"),
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
    """Up to 100 of the account's predictions, newest first. `next_cursor` is None on the last page."""

    results: tuple[UpstreamPrediction, ...]
    next_cursor: str | None


def _parse_status(value: object) -> UpstreamStatus:
    try:
        return UpstreamStatus(str(value))
    except ValueError:
        raise UnexpectedResponseError(f"unknown prediction status {str(value)[:40]!r}") from None


def _get_text(raw: Mapping[str, Any], name: str) -> str | None:
    value = raw.get(name)
    return value if isinstance(value, str) else None


def _get_mapping(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}
