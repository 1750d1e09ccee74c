"""The simulated Replicate: predictions that run, report by signed webhooks, and are forgotten after an hour.

It knows what the proxy does not: which job a create request really belonged to.
Facts about Replicate are those of `tools/simulator/README.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from replicate_proxy import signing
from replicate_proxy.clock import parse_timestamp
from tools.simulation.accounts import find_account_name, get_webhook_secret
from tools.simulation.timestamps import format_epoch

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from tools.simulation.faults import FaultPlan
    from tools.simulation.scheduler import Actor, Scheduler

MISSING_MODEL = "acme/missing"
MAX_WIDTH = 2048
TERMINAL = frozenset({"succeeded", "failed", "canceled", "aborted"})
STREAM_HOST_URL = "https://stream.replicate.test"
RETENTION_SECONDS = 3600.0
_PAGE_SIZE = 100
_FORGED = 401
# Only the terminal webhook is retried, for about a minute (Replicate docs, "Receive webhooks").
_WEBHOOK_RETRY_DELAYS = (1.0, 4.0, 15.0, 40.0)
_INPUT_SCHEMA = {
    "type": "object",
    "properties": {"prompt": {"type": "string"}, "width": {"type": "integer", "maximum": MAX_WIDTH}},
    "required": ["prompt"],
}
_MODEL_VIEW: dict[str, Any] = {
    "latest_version": {"openapi_schema": {"components": {"schemas": {"Input": _INPUT_SCHEMA}}}}
}
_TRANSIENT_ERROR = "Director: unexpected error handling prediction (E9828)"


@dataclass(slots=True)
class Prediction:
    """One prediction, and the truth about it: `job` is the job whose create request made it, in `account`."""

    id: str
    body: dict[str, Any]
    job: tuple[str, str]
    account: str
    created: float
    visible_from: float
    webhook: str | None
    events: tuple[str, ...]
    outcome: str
    cancel_at: float | None = None
    started: float | None = None
    ended: float | None = None
    canceled_by_us: bool = False

    @property
    def status(self) -> str:
        return str(self.body["status"])

    @property
    def is_streamed(self) -> bool:
        return "stream" in self.body["urls"]

    @property
    def is_live(self) -> bool:
        return self.status not in TERMINAL

    @property
    def run_seconds(self) -> float:
        """The time in which the model ran, which Replicate bills, to the microsecond."""
        if self.started is None or self.ended is None:
            return 0.0
        return round(self.ended - self.started, 6)


class SimulatedReplicate:
    """Replicate's API and its side of the webhooks.

    `receive_webhook(url, headers, body)` calls the proxy inside the current actor and returns the status.
    `on_create(prediction)` is called when a prediction comes into being, `on_reject(job)` when a create
    request of the job is rejected for good, whoever hears of it. `on_refused(prediction)` is called when its
    webhook is refused as forged.
    """

    def __init__(self, scheduler: Scheduler, plan: FaultPlan) -> None:
        self.predictions: dict[str, Prediction] = {}
        self.receive_webhook: Callable[[str, Mapping[str, str], bytes], int]
        self.on_create: Callable[[Prediction], None] = lambda _: None
        self.on_end: Callable[[Prediction], None] = lambda _: None
        self.on_reject: Callable[[tuple[str, str]], None] = lambda _job: None
        self.on_refused: Callable[[Prediction], None] = lambda _: None
        # The job whose create request an actor is sending; set from the claim that precedes it.
        self.find_job: Callable[[Actor, Mapping[str, Any]], tuple[str, str]]
        self._scheduler = scheduler
        self._plan = plan
        self._messages = 0

    # The API

    def respond(
        self, actor: Actor, method: str, url: str, headers: Mapping[str, str], body: bytes | str | None
    ) -> tuple[int, dict[str, Any]]:
        """Handle one request at once, and return status and body."""
        account = find_account_name(headers.get("Authorization", ""))
        if account is None:
            return 401, {"title": "Unauthenticated", "detail": "invalid token", "status": 401}
        parts = urlsplit(url)
        segments = parts.path.strip("/").split("/")[1:]
        if method == "POST" and segments[-1] == "predictions":
            return self._create(actor, account, segments, json.loads(body or b"{}"), headers)
        if segments == ["predictions"]:
            return 200, self._list(
                account, {name: values[0] for name, values in parse_qs(parts.query).items()}
            )
        if shown := _describe_account(segments, account) or _describe_model(segments):
            return 200, shown
        prediction = self.predictions.get(segments[1]) if segments[0] == "predictions" else None
        if prediction is None or prediction.account != account:
            return 404, {"detail": "The requested resource could not be found.", "status": 404}
        if segments[-1] == "cancel":
            self._cancel(prediction, by_us=True)
        return 200, self.show(prediction)

    def show(self, prediction: Prediction) -> dict[str, Any]:
        """Return the prediction as GET returns it."""
        shown = dict(prediction.body)
        if prediction.ended is not None and self._scheduler.now - prediction.ended > RETENTION_SECONDS:
            shown |= {"input": {}, "output": None, "logs": "", "data_removed": True}
        return shown

    def has_data(self, prediction_id: str) -> bool:
        """Return whether the prediction's files can still be fetched."""
        prediction = self.predictions.get(prediction_id)
        return prediction is not None and (
            prediction.ended is None or self._scheduler.now - prediction.ended <= RETENTION_SECONDS
        )

    def _create(
        self,
        actor: Actor,
        account: str,
        segments: list[str],
        body: dict[str, Any],
        headers: Mapping[str, str],
    ) -> tuple[int, dict[str, Any]]:
        model = "/".join(segments[1:3]) if segments[0] != "predictions" else "acme/model"
        rejection = _find_rejection(model, body["input"])
        if rejection is not None:
            self.on_reject(self.find_job(actor, body))
            return rejection
        source = actor.random
        prediction_id = f"p{len(self.predictions) + 1:025d}"
        prediction = Prediction(
            id=prediction_id,
            body=self._describe_new(prediction_id, model, body, shows_version=segments[0] == "predictions"),
            job=self.find_job(actor, body),
            account=account,
            created=self._scheduler.now,
            visible_from=self._scheduler.now + self._plan.draw_list_lag(source),
            webhook=body.get("webhook"),
            events=tuple(body.get("webhook_events_filter") or ("output", "completed")),
            outcome=self._plan.draw_outcome(source),
            cancel_at=_parse_cancel_after(headers, self._scheduler.now),
        )
        self.predictions[prediction_id] = prediction
        self.on_create(prediction)
        self._schedule(prediction, source)
        return 201, self.show(prediction)

    def _describe_new(
        self, prediction_id: str, model: str, body: Mapping[str, Any], *, shows_version: bool
    ) -> dict[str, Any]:
        """Return what Replicate shows of a prediction that it has just created."""
        shown = {
            "id": prediction_id,
            "model": model,
            "version": body.get("version", "").rpartition(":")[2] if shows_version else "hidden",
            "status": "starting",
            "input": body["input"],
            "output": None,
            "error": None,
            "logs": "",
            "metrics": {},
            "created_at": format_epoch(self._scheduler.now + self._plan.replicate_clock_skew),
            "urls": {"get": f"https://api.replicate.test/v1/predictions/{prediction_id}"},
        }
        if self._plan.streams_enabled and not shows_version:
            shown["urls"]["stream"] = f"{STREAM_HOST_URL}/v1/streams/{prediction_id}"
        if self._plan.replicate_echoes_webhook and "webhook" in body:
            shown["webhook"] = body["webhook"]
        return shown

    def _schedule(self, prediction: Prediction, source: random.Random) -> None:
        """Let the prediction start and end at times that are drawn now."""
        start_delay, run_seconds = self._plan.draw_run_times(source)
        start_delay = self._plan.draw_slow_start(prediction.id) or start_delay
        self._scheduler.call_at(self._scheduler.now + start_delay, lambda: self._start(prediction))
        self._scheduler.call_at(
            self._scheduler.now + start_delay + run_seconds, lambda: self._end(prediction, prediction.outcome)
        )
        if prediction.cancel_at is not None:
            self._scheduler.call_at(prediction.cancel_at, lambda: self._cancel(prediction, by_us=False))

    def _list(self, account: str, query: Mapping[str, str]) -> dict[str, Any]:
        after = parse_timestamp(query["created_after"]).timestamp() if "created_after" in query else 0.0
        before = parse_timestamp(query["created_before"]).timestamp() if "created_before" in query else 1e12
        skew = self._plan.replicate_clock_skew
        matching = [
            prediction
            for prediction in reversed(self.predictions.values())
            if prediction.account == account
            and after <= prediction.created + skew < before
            and prediction.visible_from <= self._scheduler.now
        ]
        start = int(query.get("cursor", "0"))
        page = matching[start : start + _PAGE_SIZE]
        following = urlencode({**query, "cursor": start + _PAGE_SIZE})
        has_more = len(matching) > start + _PAGE_SIZE
        return {
            "previous": None,
            "next": f"https://api.replicate.test/v1/predictions?{following}" if has_more else None,
            "results": [self._show_in_list(prediction) for prediction in page],
        }

    def _show_in_list(self, prediction: Prediction) -> dict[str, Any]:
        shown = self.show(prediction)
        if self._plan.list_hides_version:
            shown["version"] = "hidden"
        return shown

    # The life of a prediction

    def _start(self, prediction: Prediction) -> None:
        if prediction.status == "starting":
            prediction.body["status"] = "processing"
            prediction.started = self._scheduler.now
            prediction.body["started_at"] = format_epoch(self._scheduler.now)
            if prediction.is_streamed:
                prediction.body["output"] = ["The"]
            self._announce(prediction, "start")

    def _cancel(self, prediction: Prediction, *, by_us: bool) -> None:
        if prediction.is_live:
            prediction.canceled_by_us = by_us
            self._end(prediction, "canceled" if prediction.status == "processing" else "aborted")

    def _end(self, prediction: Prediction, outcome: str) -> None:
        if not prediction.is_live:
            return
        prediction.ended = self._scheduler.now
        status = "failed" if outcome == "failed_transiently" else outcome
        prediction.body["status"] = status
        prediction.body["completed_at"] = format_epoch(self._scheduler.now)
        if status == "succeeded":
            urls = [
                f"https://replicate.delivery/{prediction.id}/out-{number}.png"
                for number in range(self._plan.files_per_output)
            ]
            prediction.body["output"] = ["The", " end"] if prediction.is_streamed else urls
            prediction.body["metrics"] = {"predict_time": prediction.run_seconds}
        elif status == "failed":
            transient = outcome == "failed_transiently"
            prediction.body["error"] = _TRANSIENT_ERROR if transient else "ValueError: bad prompt"
        elif status == "canceled":
            prediction.body["metrics"] = {"predict_time": prediction.run_seconds}
        self.on_end(prediction)
        self._announce(prediction, "completed")

    def _announce(self, prediction: Prediction, event: str) -> None:
        if prediction.webhook is None or event not in prediction.events:
            return
        self._messages += 1
        number = self._messages
        body = json.dumps(self.show(prediction)).encode()
        name = f"webhook-{number}"
        attempts = len(_WEBHOOK_RETRY_DELAYS) + 1 if event == "completed" else 1

        def call() -> None:
            actor = self._scheduler.actor
            if self._plan.is_webhook_lost(actor):
                return
            for copy_delay in self._plan.draw_webhook_delays(actor):
                self._scheduler.sleep(copy_delay)
                for attempt in range(attempts):
                    if attempt:
                        self._scheduler.sleep(_WEBHOOK_RETRY_DELAYS[attempt - 1])
                    if 200 <= self._send(prediction, number, body) < 300:
                        break

        self._scheduler.spawn(name, call)

    def _send(self, prediction: Prediction, number: int, body: bytes) -> int:
        timestamp = int(self._scheduler.now)
        message_id = f"msg_{number}"
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signing.sign_webhook(
                [get_webhook_secret(prediction.account)], message_id, timestamp, body
            ),
        }
        status = self.receive_webhook(prediction.webhook or "", headers, body)
        if status == _FORGED:
            self.on_refused(prediction)
        return status


def _describe_account(segments: list[str], account: str) -> dict[str, Any]:
    """Return what a path shows about an account itself, empty for any other path."""
    if segments == ["account"]:
        return {"type": "organization", "username": account}
    return {"key": get_webhook_secret(account)} if segments == ["webhooks", "default", "secret"] else {}


def _describe_model(segments: list[str]) -> dict[str, Any]:
    """Return what a path shows about the model or its version, empty for any other path."""
    if segments[:3] != ["models", "acme", "model"]:
        return {}
    shown: dict[str, Any] = _MODEL_VIEW if len(segments) == 3 else _MODEL_VIEW["latest_version"]
    return shown


def _find_rejection(model: str, model_input: Mapping[str, Any]) -> tuple[int, dict[str, Any]] | None:
    """Return the response to a create that is rejected, None if it is accepted."""
    if model_input.get("prompt") == "rejected":
        return 422, {"title": "Input validation failed", "detail": "- prompt\n", "status": 422}
    if model_input.get("width", 0) > MAX_WIDTH:
        return 422, {"title": "Input validation failed", "detail": "- input.width\n", "status": 422}
    if model_input.get("prompt") == "unpaid":
        return 402, {"title": "Insufficient credit", "detail": "Buy credit", "status": 402}
    if model == MISSING_MODEL:
        return 404, {"detail": "The requested resource could not be found.", "status": 404}
    return None


def _parse_cancel_after(headers: Mapping[str, str], now: float) -> float | None:
    value = headers.get("Cancel-After")
    return now + int(value.rstrip("s")) if value else None
