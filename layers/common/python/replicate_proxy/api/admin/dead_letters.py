"""Routes of dead letters: peek at the messages of a queue, redrive and discard them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import DiscardBody, RedriveBody
from replicate_proxy.api.http import json_response
from replicate_proxy.api.query_parameters import parse_limit
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import parameter_error
from replicate_proxy.operations.dead_letters import parse_subject
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.dead_letters import DeadLetter, DeadLetterService


_DEFAULT_PEEK_LIMIT = 10
_MAX_PEEK_LIMIT = 100
# A response has a few bytes around them.
_MAX_RESULTS_BYTES = MAX_RESPONSE_BYTES - 1000


def add_dead_letter_routes(router: Router, dead_letters: DeadLetterService) -> None:
    """Register the routes of the dead-letter queues."""

    @router.get("/admin/queues/{name}/dead-letters", query=("limit", "body"))
    def peek_dead_letters(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        limit = parse_limit(request, default=_DEFAULT_PEEK_LIMIT, maximum=_MAX_PEEK_LIMIT)
        peeked = dead_letters.peek(request.path_params["name"], limit=limit).messages
        with_body = _parse_body_flag(request)
        views = [build_dead_letter_view(dead_letter, with_body=with_body) for dead_letter in peeked]
        return json_response(200, {"results": _omit_large_bodies(views) if with_body else views})

    @router.post("/admin/queues/{name}/redrive")
    def redrive_queue(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(RedriveBody, request.json_or_empty())
        outcome = dead_letters.redrive(
            request.path_params["name"],
            body.to_filter(),
            limit=body.limit,
            rate_per_second=body.rate_per_second,
        )
        return json_response(200, asdict(outcome))

    @router.post("/admin/queues/{name}/discard")
    def discard_dead_letters(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(DiscardBody, request.json())
        outcome = dead_letters.discard(request.path_params["name"], body.to_filter(), limit=body.limit)
        return json_response(200, asdict(outcome))


def build_dead_letter_view(dead_letter: DeadLetter, *, with_body: bool) -> dict[str, Any]:
    """Return the message. Its body can contain a tenant's outputs, so it is included only on request."""
    view = {
        "message_id": dead_letter.id,
        **parse_subject(dead_letter.body),
        "sent_at": format_timestamp(dead_letter.sent_at),
        "receive_count": dead_letter.receive_count,
        "target": dead_letter.target_arn,
        "error": dead_letter.error_message,
        "bytes": len(dead_letter.body.encode()),
    }
    return {**view, "body": _parse_message_body(dead_letter.body)} if with_body else view


def _omit_large_bodies(views: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages. A body that does not fit into the response beside those before it is left out."""
    shortest = [{**view, "body": None, "omitted": ["body"]} for view in views]
    total_bytes = sum(map(_calculate_size_bytes, shortest))
    results = []
    for view, short in zip(views, shortest, strict=True):
        added_bytes = _calculate_size_bytes(view) - _calculate_size_bytes(short)
        fits = total_bytes + added_bytes <= _MAX_RESULTS_BYTES
        results.append(view if fits else short)
        total_bytes += added_bytes if fits else 0
    return results


def _calculate_size_bytes(view: dict[str, Any]) -> int:
    return calculate_sent_bytes(json.dumps(view, ensure_ascii=False))


def _parse_body_flag(request: Request) -> bool:
    text = request.query.get("body", "false")
    if text not in {"true", "false"}:
        raise parameter_error("body", "must be true or false")
    return text == "true"


def _parse_message_body(body: str) -> Any:
    """Return the body as JSON, or as text if it is not JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return body
