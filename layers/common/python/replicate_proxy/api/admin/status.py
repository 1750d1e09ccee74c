"""Routes that show the state of the queues, and of Replicate as this deployment sees it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.http import json_response
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_optional_timestamp
from replicate_proxy.operations.replicate_status import describe_rate_limit

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.operations.queues import QueueMonitor, QueuePair, QueueState
    from replicate_proxy.operations.replicate_status import AccountStatus, ReplicateStatusService


def add_status_routes(router: Router, queues: QueueMonitor, replicate: ReplicateStatusService) -> None:
    """Register `GET /admin/queues` and `GET /admin/replicate`."""

    @router.get("/admin/queues", query=())
    def list_queues(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        results = [build_queue_view(name, pair) for name, pair in queues.read().items()]
        return json_response(200, {"results": results})

    @router.get("/admin/replicate", query=())
    def get_replicate_status(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        status = replicate.read()
        return json_response(
            200,
            {
                "accounts": [_build_account_view(account) for account in status.accounts],
                "is_complete": status.is_complete,
                "last_failed": [_build_failure_view(job) for job in status.last_failed],
            },
        )


def build_queue_view(name: str, pair: QueuePair) -> dict[str, Any]:
    """Return the queue; `messages` is null if its dead letters come from no queue."""
    return {
        "name": name,
        "messages": _build_state_view(pair.messages) if pair.messages else None,
        "dead_letters": _build_state_view(pair.dead_letters),
        "can_redrive": pair.queue.can_redrive,
        "note": pair.queue.note,
    }


def _build_state_view(state: QueueState) -> dict[str, Any]:
    return {
        **asdict(state.depth),
        "oldest_seconds": state.oldest_seconds,
        "oldest_unknown_because": state.unknown_reason,
    }


def _build_account_view(status: AccountStatus) -> dict[str, Any]:
    """Return the account, null for that of the deployment. No token or secret is in it."""
    return {
        "tenant": status.account.tenant or None,
        "replicate_account": status.account.name or status.token.name,
        "breaker": dict(status.breaker) if status.breaker else None,
        "creates": describe_rate_limit(status.creates),
        "reads": describe_rate_limit(status.reads),
        "token": {
            "state": status.token.state.value,
            "checked_at": format_optional_timestamp(status.token.checked_at),
            "reason": status.token.reason,
        },
        "webhook_secret_since": format_optional_timestamp(status.webhook_secret_at),
    }


def _build_failure_view(job: Job) -> dict[str, Any]:
    return {
        "tenant": job.tenant,
        "id": job.id,
        "completed_at": format_optional_timestamp(job.completed_at),
        "error_class": job.end_reason.value if job.end_reason else None,
        "error": job.error,
    }
