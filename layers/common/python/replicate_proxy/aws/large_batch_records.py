"""The state of a large batch as text in the record of its batch. No I/O."""

from __future__ import annotations

import json
from dataclasses import asdict

from replicate_proxy.batches.model import BatchPhase, LargeBatch
from replicate_proxy.clock import format_optional_timestamp, parse_optional_timestamp, parse_timestamp
from replicate_proxy.stored_fields import build_from_stored

_TIMES = ("due_at", "delete_at", "cancel_requested_at", "completed_at")


def text_from_large_batch(large: LargeBatch) -> str:
    """Return the state as JSON; what has no value is left out."""
    values = {**asdict(large), **{name: format_optional_timestamp(getattr(large, name)) for name in _TIMES}}
    return json.dumps({name: value for name, value in values.items() if value is not None})


def large_batch_from_text(text: str) -> LargeBatch:
    """Return the state that was stored. Unknown fields, which a newer version has written, are ignored."""
    stored = json.loads(text)
    times = {name: parse_optional_timestamp(stored.get(name)) for name in _TIMES}
    parsed = {
        "models": tuple(stored["models"]),
        "phase": BatchPhase(stored["phase"]),
        "line_objects": tuple(stored.get("line_objects", ())),
        "result_parts": tuple(stored.get("result_parts", ())),
        "due_at": parse_timestamp(stored["due_at"]),
        "delete_at": parse_timestamp(stored["delete_at"]),
    }
    return build_from_stored(LargeBatch, stored, **{**times, **parsed})
