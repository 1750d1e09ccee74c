"""Routes that change one job of any tenant: cancel, redeliver, harvest, retry, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.admin.jobs import JOB, build_job_view, parse_job_id
from replicate_proxy.api.http import json_response
from replicate_proxy.auth.principal import Scope
from replicate_proxy.budgets.gate import build_budget_view

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.job_actions import JobActions
    from replicate_proxy.operations.job_retries import JobRetries


def add_job_action_routes(router: Router, actions: JobActions, retries: JobRetries) -> None:
    """Register what operators do to one job. No route has a body; one that is sent is ignored."""

    @router.post(f"{JOB}/cancel")
    def cancel_job(request: Request) -> Response:
        return json_response(202, {"job": build_job_view(actions.cancel(*_parse_job(request)))})

    @router.post(f"{JOB}/redeliver")
    def redeliver_job(request: Request) -> Response:
        result = actions.redeliver(*_parse_job(request))
        refused = [{"id": name, "reason": reason} for name, reason in result.refused.items()]
        return json_response(202, {"redelivered": result.redelivered, "refused": refused})

    @router.post(f"{JOB}/harvest")
    def harvest_job(request: Request) -> Response:
        return json_response(202, {"job": build_job_view(actions.harvest(*_parse_job(request)))})

    @router.post(f"{JOB}/delete")
    def delete_job(request: Request) -> Response:
        return json_response(202, {"job": build_job_view(actions.delete(*_parse_job(request)))})

    @router.post(f"{JOB}/retry")
    def retry_job(request: Request) -> Response:
        result = retries.retry(*_parse_job(request))
        budget = {"budget": build_budget_view(result.hold)} if result.hold is not None else {}
        view = {"job": build_job_view(result.job), **budget}
        if result.is_replay:
            return json_response(200, view, {"idempotent-replayed": "true"})
        return json_response(201, view)


def _parse_job(request: Request) -> tuple[str, str]:
    """Return the tenant and the ID of the job. Raises a 403 ApiError without the scope, NotFoundError."""
    request.principal.require(Scope.ADMIN)
    return request.path_params["tenant"], parse_job_id(request)
