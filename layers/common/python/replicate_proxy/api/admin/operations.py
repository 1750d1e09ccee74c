"""/admin/breaker

/admin/queues

/admin/tenants/{name}/redeliver: an operator's redelivery of any tenant's webhooks.

/admin/webhook-secret
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import DiscardBody, RedriveBody, TripBreakerBody
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import field_error, parse_body
from replicate_proxy.api.webhooks.bodies import RedeliverBody
from replicate_proxy.api.webhooks.views import build_delivery_view
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_timestamp
from replicate_proxy.observability import logger
from replicate_proxy.operations.dead_letters import parse_subject

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response, Router
    from replicate_proxy.operations.dead_letters import DeadLetter, DeadLetterService
    from replicate_proxy.operations.ports import BreakerControl, Redeliveries
    from replicate_proxy.replicate_api.webhook_secret import WebhookSecretRefresher


def add_breaker_routes(routes: Router, breaker: BreakerControl) -> None:
    @routes.get("/admin/breaker")
    def view(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, dict(breaker.describe()))

    @routes.post("/admin/breaker/trip")
    def trip(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = parse_body(TripBreakerBody, request.json() if request.body else {})
        logger.warning("breaker opened by an operator", seconds=wanted.seconds)
        breaker.trip("admin", seconds=wanted.seconds)
        return json_response(200, dict(breaker.describe()))

    @routes.post("/admin/breaker/reset")
    def reset(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        logger.warning("breaker closed by an operator")
        breaker.reset()
        return json_response(200, dict(breaker.describe()))


_MOST_SHOWN = 100


def add_queue_routes(routes: Router, letters: DeadLetterService) -> None:
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
            for name, (queue, depth) in letters.get_depths().items()
        ]
        return json_response(200, {"results": results})

    @routes.get("/admin/queues/{name}/dead-letters")
    def peek(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        found = letters.peek(request.path_params["name"], limit=_limit(request))
        with_body = request.query.get("body") == "true"
        return json_response(200, {"results": [_view(letter, with_body=with_body) for letter in found]})

    @routes.post("/admin/queues/{name}/redrive")
    def redrive(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = parse_body(RedriveBody, request.json() if request.body else {})
        outcome = letters.redrive(
            request.path_params["name"],
            wanted.to_filter(),
            limit=wanted.limit,
            rate_per_second=wanted.rate_per_second,
        )
        return json_response(200, asdict(outcome))

    @routes.post("/admin/queues/{name}/discard")
    def discard(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = parse_body(DiscardBody, request.json())
        return json_response(
            200, asdict(letters.discard(request.path_params["name"], wanted.to_filter(), limit=wanted.limit))
        )


def _limit(request: Request) -> int:
    text = request.query.get("limit", "10")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:5]) <= _MOST_SHOWN):
        raise field_error("limit", f"must be a whole number from 1 to {_MOST_SHOWN}")
    return int(text)


def _view(letter: DeadLetter, *, with_body: bool) -> dict[str, Any]:
    """Bodies can hold a tenant's outputs, so they are shown on demand."""
    shown = {
        "message_id": letter.id,
        **parse_subject(letter.body),
        "sent_at": format_timestamp(letter.sent_at),
        "receive_count": letter.receive_count,
        "target": letter.target_arn,
        "error": letter.error_message,
        "bytes": len(letter.body.encode()),
    }
    return {**shown, "body": _parsed(letter.body)} if with_body else shown


def _parsed(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


def add_redelivery_routes(routes: Router, redeliveries: Redeliveries) -> None:
    @routes.post("/admin/tenants/{name}/redeliver")
    def redeliver_failed(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = parse_body(RedeliverBody, request.json())
        done = redeliveries.redeliver_all_failed(
            request.path_params["name"], wanted.since, cursor=wanted.cursor
        )
        return json_response(202, {"redelivered": done.count, "next": done.next_cursor})

    @routes.post("/admin/tenants/{name}/deliveries/{delivery_id}/redeliver")
    def redeliver_one(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        delivery = redeliveries.redeliver(request.path_params["name"], request.path_params["delivery_id"])
        return json_response(202, build_delivery_view(delivery))


def add_secret_routes(routes: Router, secret: WebhookSecretRefresher) -> None:
    @routes.post("/admin/webhook-secret/refresh")
    def refresh(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, asdict(secret.refresh()))
