"""Run one prediction with Replicate's unmodified Python client, from its creation to the signed webhook."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import requests
from replicate.client import Client
from replicate.exceptions import ReplicateError
from replicate.prediction import Prediction
from rich.markup import escape

from tools.local import waiting
from tools.local.configuration import choose_upstream
from tools.local.demo import display
from tools.local.demo.evidence import EvidenceCollector, StoredFile
from tools.local.demo.hops import Hop, verify_hops
from tools.local.demo.receiver import WebhookInbox, open_inbox
from tools.local.demo.request import ModelRequest, build_request
from tools.local.errors import LocalError
from tools.local.keys import create_sign_in_link
from tools.local.lifecycle import start_stack
from tools.local.paths import LOCAL_FOLDER, StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack

_OUTPUT_FOLDER = LOCAL_FOLDER / "demo"
_JOB_TIMEOUT_SECONDS = 900.0
_WEBHOOK_TIMEOUT_SECONDS = 30.0
_POLL_INTERVAL_SECONDS = 0.2
_TERMINAL_STATUSES = {"succeeded", "failed", "canceled"}


@dataclass(frozen=True)
class _Result:
    """A finished job and the evidence about it."""

    prediction: Mapping[str, Any]
    hops: list[Hop]
    files: list[StoredFile]

    @property
    def is_complete(self) -> bool:
        return self.prediction["status"] == "succeeded" and all(hop.happened for hop in self.hops)


def run_demo(
    folder: StackFolder,
    screen: Screen,
    *,
    prompt: str | None = None,
    model: str | None = None,
    input_json: str | None = None,
) -> int:
    """Start the stack, run the prediction, and return 0 if every hop happened, otherwise 1.

    Raises `LocalError` if the model does not exist or does not take the input.
    """
    stack = start_stack(folder, screen, environment=os.environ)
    upstream = choose_upstream(os.environ, stack.simulator_url)
    request = build_request(stack, model=model, prompt=prompt, input_json=input_json)
    channel = "webhook" if upstream.webhooks_enabled else "polling"
    screen.print(f"\n{escape(request.reference)} on {upstream.url}, by {channel}")
    screen.print(f"input {escape(json.dumps(request.input, ensure_ascii=False))}\n")
    with open_inbox(_fetch_signing_secret(stack)) as inbox:
        collector = EvidenceCollector(stack, upstream.token, _OUTPUT_FOLDER, request.title)
        result = _run_prediction(stack, screen, inbox, collector, request)
    display.show_result(screen, result.prediction, result.hops, result.files, folder.make_argument)
    screen.print(f"console {create_sign_in_link(stack)}   (signs in once)")
    return 0 if result.is_complete else 1


def _fetch_signing_secret(stack: Stack) -> str:
    """Return the tenant's webhook secret from the endpoint that corresponds to Replicate's."""
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    url = f"{stack.api_url}/v1/webhooks/default/secret"
    response = requests.get(url, headers=headers, timeout=30)
    if not response.ok:
        raise LocalError(f"cannot fetch the webhook secret: {response.status_code} {response.text[:300]}")
    return str(response.json()["key"])


def _run_prediction(
    stack: Stack,
    screen: Screen,
    inbox: WebhookInbox,
    collector: EvidenceCollector,
    request: ModelRequest,
) -> _Result:
    created = _create_prediction(Client(api_token=stack.api_key, base_url=stack.api_url), request, inbox)
    prediction = _wait_for_end(created, collector, screen)
    with screen.console.status("waiting for the application's webhook …"):
        notified_at = _wait_for_webhook(inbox, created.id)
    replicate_id = prediction["proxy"]["replicate_id"]
    replicate_prediction = collector.get_replicate_prediction(replicate_id) if replicate_id else {}
    files = collector.collect_files(created.output, replicate_prediction.get("output"))
    hops = verify_hops(
        prediction=prediction,
        replicate_prediction=replicate_prediction,
        webhook_accepted=collector.is_webhook_accepted(replicate_id) if replicate_id else None,
        files=files,
        notified_at=notified_at,
    )
    return _Result(prediction, hops, files)


def _create_prediction(client: Client, request: ModelRequest, inbox: WebhookInbox) -> Prediction:
    webhook: dict[str, Any] = {"webhook": inbox.url, "webhook_events_filter": ["completed"]}
    try:
        if request.version:
            return client.predictions.create(version=request.version, input=dict(request.input), **webhook)
        return client.predictions.create(model=request.model, input=dict(request.input), **webhook)
    except (ReplicateError, httpx.HTTPError) as error:
        detail = getattr(error, "detail", None) or str(error) or type(error).__name__
        raise LocalError(f"the prediction was not created: {' '.join(str(detail).split())}") from error


def _wait_for_end(created: Prediction, collector: EvidenceCollector, screen: Screen) -> Mapping[str, Any]:
    """Show each hop as soon as the job's timeline has it; return the prediction once it has ended.

    Raises `LocalError` if it does not end in time.
    """
    if not created.urls:
        raise LocalError("the response to the create request has no urls")
    shown: set[str] = set()
    deadline = time.monotonic() + _JOB_TIMEOUT_SECONDS
    with screen.console.status(f"job {created.id} …"):
        while time.monotonic() < deadline:
            created.reload()
            prediction = collector.get_prediction(created.urls["get"])
            display.show_progress(screen, prediction, shown)
            if created.status in _TERMINAL_STATUSES and prediction["status"] in _TERMINAL_STATUSES:
                return prediction
            time.sleep(_POLL_INTERVAL_SECONDS)
    raise LocalError(f"job {created.id} did not end within {_JOB_TIMEOUT_SECONDS:.0f} s; see `make logs`")


def _wait_for_webhook(inbox: WebhookInbox, job_id: str) -> datetime | None:
    try:
        received_at, _ = waiting.wait_for(
            lambda: inbox.find_final_delivery(job_id),
            timeout_seconds=_WEBHOOK_TIMEOUT_SECONDS,
            description="the webhook",
        )
    except LocalError:
        return None
    return received_at
