"""Routes that create predictions: Replicate's own, and the plain `POST /`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.http import json_response
from replicate_proxy.api.predictions.headers import parse_prefer_wait
from replicate_proxy.api.predictions.job_request_parser import build_submission
from replicate_proxy.auth.principal import Scope
from replicate_proxy.budgets.gate import build_budget_view
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import SubmissionKind
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.predictions.job_request_parser import JobRequestParser
    from replicate_proxy.api.routing import Router
    from replicate_proxy.jobs.model import Job, Submission
    from replicate_proxy.services.ingest import CreateResult, JobCreator
    from replicate_proxy.services.rendering import PredictionRenderer
    from replicate_proxy.services.stream_urls import StreamUrlWaiter
    from replicate_proxy.services.wait import JobWaiter


def add_prediction_create_routes(
    router: Router,
    *,
    parser: JobRequestParser,
    creator: JobCreator,
    waiter: JobWaiter,
    stream_waiter: StreamUrlWaiter,
    renderer: PredictionRenderer,
) -> None:
    """Register the creates by version, model and deployment, and the plain `POST /`."""

    def create(request: Request, submission: Submission | None) -> Response:
        principal = request.principal.require(Scope.PREDICTIONS_WRITE)
        return respond(request, creator.create(parser.parse(request, submission, principal), principal))

    def respond(request: Request, result: CreateResult) -> Response:
        job = result.job
        if parse_prefer_wait(request.headers.get("prefer", "")) is None:
            job = stream_waiter.wait(job, received_at=request.received_at)
        return _build_create_response(request, result, job, waiter, renderer)

    @router.post("/v1/predictions")
    def create_by_version(request: Request) -> Response:
        return create(request, None)

    @router.post("/v1/models/{owner}/{name}/predictions")
    def create_by_model(request: Request) -> Response:
        return create(request, build_submission(SubmissionKind.MODEL, request.path_params))

    @router.post("/v1/deployments/{owner}/{name}/predictions")
    def create_by_deployment(request: Request) -> Response:
        return create(request, build_submission(SubmissionKind.DEPLOYMENT, request.path_params))

    @router.post("/")
    def create_plain(request: Request) -> Response:
        principal = request.principal.require(Scope.PREDICTIONS_WRITE)
        return respond(request, creator.create(parser.parse_plain(request, principal), principal))


def _build_create_response(
    request: Request, result: CreateResult, job: Job, waiter: JobWaiter, renderer: PredictionRenderer
) -> Response:
    """Return 201 with the prediction; with `Prefer: wait`, 202 if it is not final when the wait ends.

    Source: Replicate's OpenAPI document, POST /predictions. While too many requests wait, the preference is
    ignored, which RFC 7240 allows (section 2); `Preference-Applied` then is missing.
    """
    headers = {"location": f"{job.public_base_url}/v1/predictions/{job.id}"}
    if result.is_replay:
        headers["idempotent-replayed"] = "true"
    wait_seconds = parse_prefer_wait(request.headers.get("prefer", ""))
    waited_job = None
    if wait_seconds is not None:
        waited_job = waiter.wait_until_final(job, wait_seconds, received_at=request.received_at)
    if waited_job is not None:
        job = waited_job
        headers["preference-applied"] = f"wait={wait_seconds}"
    has_waited_in_vain = waited_job is not None and not job.is_terminal
    # A replayed job may run already: clients that asked to wait poll only a prediction that is starting.
    is_wait_expired = wait_seconds is not None and not job.is_terminal
    try:
        view = renderer.render(job, wait_expired=is_wait_expired)
    except RetryableError as error:
        if result.is_replay:
            raise
        # An error would make the caller create another one.
        logger.warning("prediction not rendered, shown as accepted", job_id=job.id, reason=str(error))
        view = renderer.render_without_documents(result.job)
        has_waited_in_vain = waited_job is not None
    return json_response(202 if has_waited_in_vain else 201, _add_budget(view, result), headers)


def _add_budget(view: dict[str, Any], result: CreateResult) -> dict[str, Any]:
    if result.hold is None:
        return view
    return {**view, "proxy": {**view["proxy"], "budget": build_budget_view(result.hold)}}
