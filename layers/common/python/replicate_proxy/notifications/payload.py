"""The body of an event: the prediction as our GET returns it, rendered once. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from replicate_proxy.notifications.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.notifications.events import JobEvent

__all__ = ["body_text"]

_ENDS = ("completed_at", "metrics")
# What a body can do without, the least missed first: the caller knows the input, and GET has it all.
_OMITTABLE: tuple[tuple[str, Any], ...] = (("input", {}), ("logs", ""), ("output", None))


def body_text(view: Mapping[str, Any], event: JobEvent, *, limit: int) -> str:
    """JSON text of at most `limit` bytes as far as leaving out input, logs and output can make it so.

    `proxy.event` and `proxy.sequence` say which event this is, under the signature; `proxy.omitted` what was
    left out.
    """
    body = _as_of(event.kind, dict(view))
    proxy = {**(view.get("proxy") or {}), "event": event.kind.value, "sequence": event.sequence}
    omitted: list[str] = []
    text = _json({**body, "proxy": proxy})
    if len(text.encode()) > limit:
        # The files of a job with hundreds of them are as long as its output.
        proxy = {**proxy, "files": []}
    for name, nothing in _OMITTABLE:
        if len(text.encode()) <= limit:
            break
        body = {**body, name: nothing}
        omitted.append(name)
        text = _json({**body, "proxy": {**proxy, "omitted": list(omitted)}})
    return text


def _as_of(kind: EventKind, view: dict[str, Any]) -> dict[str, Any]:
    """The view set back to the event's moment, where the record had moved on by the time it was seen.

    Only `completed` says that a prediction is over: receivers act on a terminal status, and would act twice
    if `output`, which is due at the same moment, showed it too. Replicate's own `output` reads `processing`
    as well.
    """
    if kind is EventKind.COMPLETED or view["status"] in {"starting", "processing"}:
        return view
    earlier = {name: value for name, value in view.items() if name not in _ENDS}
    output = view["output"] if kind is EventKind.OUTPUT else None
    return {**earlier, "status": "processing", "error": None, "output": output}


def _json(body: Mapping[str, Any]) -> str:
    """Compact UTF-8; all escaped where it holds a lone surrogate, which JSON allows and UTF-8 does not."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(body, separators=(",", ":"))
    return text
