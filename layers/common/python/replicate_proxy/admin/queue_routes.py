"""/admin/queues"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.admin.bodies import DiscardBody, RedriveBody
from replicate_proxy.admin.letters import subject_of
from replicate_proxy.auth.scopes import Scope
from replicate_proxy.clock import iso
from replicate_proxy.validation import checked, invalid
from replicate_proxy.web import json_response

if TYPE_CHECKING:
    from replicate_proxy.admin.dead_letters import DeadLetters
    from replicate_proxy.admin.letters import DeadLetter
    from replicate_proxy.web import Request, Response, Routes

__all__ = ["add_queue_routes"]

_MOST_SHOWN = 100


def add_queue_routes(routes: Routes, letters: DeadLetters) -> None:
    @routes.get("/admin/queues")
    def depths(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        results = [
            {
                "name": name,
                "dead_letters": asdict(depth),
                "can_redrive": queue.can_redrive,
                "note": queue.note,
            }
            for name, (queue, depth) in letters.depths().items()
        ]
        return json_response(200, {"results": results})

    @routes.get("/admin/queues/{name}/dead-letters")
    def peek(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        found = letters.peek(request.params["name"], limit=_limit(request))
        with_body = request.query.get("body") == "true"
        return json_response(200, {"results": [_view(letter, with_body=with_body) for letter in found]})

    @routes.post("/admin/queues/{name}/redrive")
    def redrive(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = checked(RedriveBody, request.json() if request.body else {})
        outcome = letters.redrive(
            request.params["name"], wanted.to_filter(), limit=wanted.limit, rate=wanted.rate_per_second
        )
        return json_response(200, asdict(outcome))

    @routes.post("/admin/queues/{name}/discard")
    def discard(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = checked(DiscardBody, request.json())
        return json_response(
            200, asdict(letters.discard(request.params["name"], wanted.to_filter(), limit=wanted.limit))
        )


def _limit(request: Request) -> int:
    text = request.query.get("limit", "10")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:5]) <= _MOST_SHOWN):
        raise invalid("limit", f"must be a whole number from 1 to {_MOST_SHOWN}")
    return int(text)


def _view(letter: DeadLetter, *, with_body: bool) -> dict[str, Any]:
    """Bodies can hold a tenant's outputs, so they are shown on demand."""
    shown = {
        "message_id": letter.id,
        **subject_of(letter.body),
        "sent_at": iso(letter.sent_at),
        "receive_count": letter.receive_count,
        "target": letter.target,
        "error": letter.error,
        "bytes": len(letter.body.encode()),
    }
    return {**shown, "body": _parsed(letter.body)} if with_body else shown


def _parsed(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body
