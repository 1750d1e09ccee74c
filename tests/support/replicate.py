"""A fake of the Replicate clients that the services use."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.jobs.model import WaitReason
from replicate_proxy.replicate_api.errors import RejectedError
from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamPredictionPage
from replicate_proxy.replicate_api.predictions import CreateDelay
from tests.support.fakes import Faults

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from replicate_proxy.jobs.model import Submission
    from replicate_proxy.ports import Clock

PAGE_SIZE = 100
OUTPUT = ["https://replicate.delivery/out-0.png"]


class FakeReplicate:
    """Predictions by ID, in memory.

    The planned fault "create" is raised before the prediction exists, "create_response" after.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.predictions: dict[str, dict[str, Any]] = {}
        self.webhooks: dict[str, str] = {}
        self.webhook_events: dict[str, list[str]] = {}
        self.faults = Faults()
        self.create_delay_seconds: float = 0
        self.canceled: list[str] = []
        # The stream URL of predictions; None if their models do not stream.
        self.stream_url: str | None = None
        self.keeps_output_of_canceled = False
        # Entries of each page of the list that have no ID or no status.
        self.unreadable_entries: list[object] = []
        self._next_numbers = itertools.count(1)

    def acquire_batch_slot(self) -> CreateDelay | None:
        return self.acquire_create_slot()

    def acquire_create_slot(self) -> CreateDelay | None:
        seconds = self.create_delay_seconds
        return CreateDelay(seconds, WaitReason.RATE_LIMIT) if seconds > 0 else None

    def create(
        self, submission: Submission, body: Mapping[str, Any], *, cancel_after_seconds: int | None
    ) -> UpstreamPrediction:
        self.faults.raise_planned("create")
        prediction_id = f"p{next(self._next_numbers)}"
        self.predictions[prediction_id] = {
            "id": prediction_id,
            "model": submission.model_name if submission.owner else "acme/model",
            "version": body.get("version") or "hidden",
            "status": "starting",
            "input": body["input"],
            "output": None,
            "error": None,
            "logs": "",
            "metrics": {},
            "created_at": format_timestamp(self.clock.now()),
        }
        if self.stream_url is not None:
            self.predictions[prediction_id]["urls"] = {"stream": self.stream_url}
        if "webhook" in body:
            self.webhooks[prediction_id] = body["webhook"]
            self.webhook_events[prediction_id] = body["webhook_events_filter"]
        self.faults.raise_planned("create_response")
        return self._parse(prediction_id)

    def get(self, prediction_id: str) -> UpstreamPrediction:
        self.faults.raise_planned("get")
        if prediction_id not in self.predictions:
            raise RejectedError(404, "Not found", "The requested resource could not be found")
        return self._parse(prediction_id)

    def cancel(self, prediction_id: str) -> UpstreamPrediction:
        self.faults.raise_planned("cancel")
        if self.predictions[prediction_id]["status"] in {"starting", "processing"}:
            self.finish(prediction_id, "canceled")
            self.canceled.append(prediction_id)
        return self._parse(prediction_id)

    def list(
        self, *, created_after: datetime | None, created_before: datetime | None, cursor: str | None
    ) -> UpstreamPredictionPage:
        self.faults.raise_planned("list")
        matching = [
            entry
            for entry in self.predictions.values()
            if (created_after is None or created_after <= parse_timestamp(entry["created_at"]))
            and (created_before is None or parse_timestamp(entry["created_at"]) < created_before)
        ]
        matching.sort(key=lambda entry: int(entry["id"][1:]), reverse=True)
        start = int(cursor or 0)
        page = matching[start : start + PAGE_SIZE]
        next_cursor = str(start + PAGE_SIZE) if len(matching) > start + PAGE_SIZE else None
        return UpstreamPredictionPage.parse([*map(dict, page), *self.unreadable_entries], next_cursor)

    def start(self, prediction_id: str) -> None:
        self._update(prediction_id, status="processing", started_at=format_timestamp(self.clock.now()))

    def finish(self, prediction_id: str, status: str = "succeeded", **fields: Any) -> None:
        output = OUTPUT if status == "succeeded" else None
        if status == "canceled" and self.keeps_output_of_canceled:
            output = self.predictions[prediction_id]["output"]
        self._update(
            prediction_id,
            **{
                "status": status,
                "output": output,
                "completed_at": format_timestamp(self.clock.now()),
                **fields,
            },
        )

    def remove_data(self, *, older_than: timedelta) -> None:
        """Remove inputs and outputs, as Replicate does an hour after completion."""
        for entry in self.predictions.values():
            completed_at = entry.get("completed_at")
            if completed_at and parse_timestamp(completed_at) <= self.clock.now() - older_than:
                entry.update(input={}, output=None, logs="", data_removed=True)

    def _update(self, prediction_id: str, **fields: Any) -> None:
        self.predictions[prediction_id].update(fields)

    def _parse(self, prediction_id: str) -> UpstreamPrediction:
        return UpstreamPrediction.parse(dict(self.predictions[prediction_id]))
