"""A stored prediction as server-sent events, in the form of Replicate's streams (Replicate docs, streaming).

`output` for each element of the output, `logs`, `error` with `{"detail"}`, and `done` with `{}` or
`{"reason": "error" | "canceled"}`. Every event has an ID, without which Replicate's Python client drops it.
The IDs are `stored:<n>`: a client that resumes with one gets the events after it; with an ID of Replicate's,
whose position is not known, it gets all events again and sees that from their IDs.
"""

from __future__ import annotations

import json
import re
from itertools import batched
from typing import TYPE_CHECKING, Any

from replicate_proxy.jobs.model import Job, JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

_STORED_ID = re.compile(r"stored:(\d{1,9})", re.ASCII)
# An event takes some 50 bytes besides its data, and a Lambda response has at most 6 MB.
_MAX_OUTPUT_EVENTS = 5000
# The line ends of an event stream (HTML Standard, parsing an event stream).
_LINE_END = re.compile(r"\r\n|\r|\n")

_REASONS = {JobStatus.FAILED: {"reason": "error"}, JobStatus.CANCELED: {"reason": "canceled"}}
_WAITING = (
    "The prediction was accepted and waits for Replicate: the rate limit is used up, or Replicate is down"
)
_EXPLANATIONS = {
    JobStatus.QUEUED: _WAITING,
    JobStatus.SUBMITTING: _WAITING,
    JobStatus.SUBMIT_UNKNOWN: "It is not known yet whether Replicate has accepted the prediction",
    JobStatus.SUBMITTED: "The prediction has not started yet",
    JobStatus.PROCESSING: "The prediction is still running",
    JobStatus.HARVESTING: "The output of the prediction is being stored",
}


def render_final_events(job: Job, *, output: Any, logs: Any, last_event_id: str = "") -> str:
    """Return the events of a terminal job after `last_event_id`, or all."""
    events = [("logs", str(logs))] if logs else []
    events += [("output", text) for text in _merge_pieces(_list_pieces(output))]
    if job.status is JobStatus.FAILED:
        events.append(("error", json.dumps({"detail": job.error}, ensure_ascii=False)))
    events.append(("done", json.dumps(_REASONS.get(job.status, {}))))
    match = _STORED_ID.fullmatch(last_event_id)
    position = int(match[1]) if match else 0
    numbered = list(enumerate(events, 1))[position:]
    return "".join(_format_event(name, f"stored:{number}", data) for number, (name, data) in numbered)


def render_pending_events(job: Job) -> str:
    """Return the events that say why a job has no output to stream yet."""
    explanation = _EXPLANATIONS.get(job.status, "The prediction has no output yet")
    url = f"{job.public_base_url}/v1/predictions/{job.id}"
    return render_error(f"{explanation}. It goes on: read {url}, or open this stream again later")


def render_error(detail: str) -> str:
    """Return a stream that only says why there is none."""
    error = _format_event("error", "none:1", json.dumps({"detail": detail}, ensure_ascii=False))
    return error + _format_event("done", "none:2", json.dumps({"reason": "error"}))


def _list_pieces(output: Any) -> list[str]:
    pieces = output if isinstance(output, list) else [] if output is None else [output]
    return [piece if isinstance(piece, str) else json.dumps(piece, ensure_ascii=False) for piece in pieces]


def _merge_pieces(pieces: list[str]) -> Iterable[str]:
    """Return the pieces, several in one event if there are very many: clients concatenate them."""
    count = -(-len(pieces) // _MAX_OUTPUT_EVENTS)
    return ("".join(group) for group in batched(pieces, max(count, 1), strict=False))


def _format_event(name: str, event_id: str, data: str) -> str:
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"event: {name}\nid: {event_id}\n{lines}\n"
