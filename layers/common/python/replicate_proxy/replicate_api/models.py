"""Predictions as Replicate sends them, read leniently: `raw` keeps all fields, missing ones have defaults.

Source: Replicate's OpenAPI document, `schemas_prediction_response`; recorded replies lack `output` and
`data_removed` on create, and send `logs: null` on cancel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Self
from urllib.parse import quote

from replicate_proxy.replicate_api.errors import UnexpectedResponseError


class UpstreamStatus(StrEnum):
    """Replicate's words. `canceled` ended while running, `aborted` before it started."""

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
class CreateTarget:
    """Which of Replicate's three create endpoints; `owner` and `name` are empty for `predictions`."""

    kind: Literal["predictions", "model", "deployment"]
    owner: str = ""
    name: str = ""

    @property
    def path(self) -> str:
        if self.kind == "predictions":
            return "/v1/predictions"
        if not self.owner or not self.name:
            raise ValueError(f"a {self.kind} needs an owner and a name")
        return f"/v1/{self.kind}s/{quote(self.owner, safe='')}/{quote(self.name, safe='')}/predictions"


@dataclass(frozen=True, slots=True)
class UpstreamPrediction:
    """One prediction. Times are Replicate's own text (ISO-8601, 3 to 9 fractional digits) or None.

    What users typed or models made is kept out of `repr`, so that it cannot slip into a log line.
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
        """Raises UnexpectedResponseError where there is no id or the status is none we know."""
        if not isinstance(raw, Mapping):
            raise UnexpectedResponseError("a prediction must be a JSON object")
        prediction_id = raw.get("id")
        if not isinstance(prediction_id, str) or not prediction_id:
            raise UnexpectedResponseError("a prediction must have an id")
        error = raw.get("error")
        return cls(
            id=prediction_id,
            model=_text(raw, "model") or "",
            version=_text(raw, "version") or "",
            status=_status(raw.get("status")),
            input=_mapping(raw, "input"),
            output=raw.get("output"),
            error=error if error is None or isinstance(error, str) else json.dumps(error),
            logs=_text(raw, "logs") or "",
            metrics=_mapping(raw, "metrics"),
            urls={name: url for name, url in _mapping(raw, "urls").items() if isinstance(url, str)},
            created_at=_text(raw, "created_at"),
            started_at=_text(raw, "started_at"),
            completed_at=_text(raw, "completed_at"),
            webhook=_text(raw, "webhook"),
            data_removed=raw.get("data_removed") is True,
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class UpstreamPredictionPage:
    """At most 100 of the account's predictions, newest first; `next_cursor` is None on the last page."""

    results: tuple[UpstreamPrediction, ...]
    next_cursor: str | None


def _status(value: object) -> UpstreamStatus:
    try:
        return UpstreamStatus(str(value))
    except ValueError:
        raise UnexpectedResponseError(f"unknown prediction status {str(value)[:40]!r}") from None


def _text(raw: Mapping[str, Any], name: str) -> str | None:
    value = raw.get(name)
    return value if isinstance(value, str) else None


def _mapping(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}
