"""`make demo`: one prediction through the unmodified PyPI client, from submission to signed notification."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
from replicate.client import Client
from replicate.prediction import Prediction

from tools.local import configuration, waiting
from tools.local.demo import display, hops
from tools.local.demo.evidence import EvidenceCollector, StoredFile
from tools.local.demo.receiver import WebhookInbox, open_inbox
from tools.local.errors import LocalError
from tools.local.lifecycle import start_stack
from tools.local.paths import LOCAL_FOLDER, StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack

MODEL = "black-forest-labs/flux-schnell"
PROMPT = "a lighthouse on a cliff at dusk, oil on canvas"
SAVE_IN = LOCAL_FOLDER / "demo"
JOB_SECONDS = 900.0
NOTIFY_SECONDS = 30.0
LOOK_SECONDS = 0.2
TERMINAL = {"succeeded", "failed", "canceled"}


@dataclass(frozen=True)
class Request:
    """What to create: `owner/name` or `owner/name:version`, and the model's input."""

    model: str
    input: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """One finished job and what its witnesses say."""

    record: Mapping[str, Any]
    hops: list[hops.Hop]
    files: list[StoredFile]

    @property
    def complete(self) -> bool:
        return self.record["status"] == "succeeded" and all(hop.happened for hop in self.hops)


def run_demo(
    home: StackFolder, screen: Screen, *, prompt: str | None = None, model: str | None = None
) -> int:
    """0 only if every hop happened."""
    stack = start_stack(home, screen)
    source = configuration.choose_upstream(os.environ, stack.simulator_url)
    request = _request(prompt, model)
    screen.print(
        f"\n{request.model} on {source.url}, by {'webhook' if source.webhooks_enabled else 'polling'}\n"
    )
    with open_inbox(_signing_secret(stack)) as inbox:
        witnesses = EvidenceCollector(stack, source.token, SAVE_IN)
        outcome = _run(stack, screen, inbox, witnesses, request)
    display.outcome(screen, outcome.record, outcome.hops, outcome.files)
    return 0 if outcome.complete else 1


def _run(
    stack: Stack, screen: Screen, inbox: WebhookInbox, witnesses: EvidenceCollector, request: Request
) -> Outcome:
    client = Client(api_token=stack.api_key, base_url=stack.api_url)
    prediction = _create(client, request, inbox)
    record = _follow(prediction, witnesses, screen)
    with screen.console.status("waiting for the application's webhook …"):
        notified_at = _notified(inbox, prediction.id)
    theirs = record["proxy"]["replicate_id"]
    original = witnesses.upstream(theirs) if theirs else {}
    files = witnesses.files(prediction.output, original.get("output"))
    told = hops.verify_hops(
        record=record,
        replicate_prediction=original,
        webhook_accepted=witnesses.webhook_answered(theirs) if theirs else None,
        files=files,
        notified_at=notified_at,
    )
    return Outcome(record, told, files)


def _create(client: Client, request: Request, inbox: WebhookInbox) -> Prediction:
    name, _, version = request.model.partition(":")
    hook: dict[str, Any] = {"webhook": inbox.url, "webhook_events_filter": ["completed"]}
    if version:
        return client.predictions.create(version=version, input=request.input, **hook)
    return client.predictions.create(model=name, input=request.input, **hook)


def _follow(prediction: Prediction, witnesses: EvidenceCollector, screen: Screen) -> Mapping[str, Any]:
    """Shows each hop as the job's record tells of it, until the job is at its end; the record."""
    if not prediction.urls:
        raise LocalError("the reply to the create has no urls")
    address, shown, deadline = prediction.urls["get"], set[str](), time.monotonic() + JOB_SECONDS
    with screen.console.status(f"job {prediction.id} …"):
        while time.monotonic() < deadline:
            prediction.reload()
            record = witnesses.record(address)
            display.progress(screen, record, shown)
            if prediction.status in TERMINAL and record["status"] in TERMINAL:
                return record
            time.sleep(LOOK_SECONDS)
    raise LocalError(f"job {prediction.id} was not finished within {JOB_SECONDS:.0f} s; see `make logs`")


def _notified(inbox: WebhookInbox, job_id: str) -> datetime | None:
    try:
        moment, _ = waiting.wait_for(
            lambda: inbox.find_final_delivery(job_id), timeout_seconds=NOTIFY_SECONDS, description="webhook"
        )
    except LocalError:
        return None
    return moment


def _signing_secret(stack: Stack) -> str:
    """The tenant's own, as an application gets it (the counterpart of Replicate's endpoint)."""
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    answer = requests.get(f"{stack.api_url}/v1/webhooks/default/secret", headers=headers, timeout=30)
    if not answer.ok:
        raise LocalError(f"no webhook secret: {answer.status_code} {answer.text[:300]}")
    return str(answer.json()["key"])


def _request(prompt: str | None, model: str | None) -> Request:
    """Our own example asks for PNG, which shows what compression saves; other models get the prompt alone."""
    extra = {} if model else {"output_format": "png"}
    return Request(model or MODEL, {"prompt": prompt or PROMPT, **extra})
