"""Creating and cancelling predictions, as Replicate's clients ask for it, and the service's own `POST /`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.http import Request, Response, Router, json_response
from replicate_proxy.api.predictions.bodies import parse_prefer_wait
from replicate_proxy.auth.principal import Scope
from replicate_proxy.jobs.model import Submission, SubmissionKind

if TYPE_CHECKING:
    from replicate_proxy.api.predictions.create_request import JobRequestParser
    from replicate_proxy.services.cancel import JobCanceler
    from replicate_proxy.services.ingest import CreateResult, JobCreator
    from replicate_proxy.services.rendering import PredictionRenderer
    from replicate_proxy.services.wait import JobWaiter


def ingest_routes(
    *,
    reader: JobRequestParser,
    ingest: JobCreator,
    cancel: JobCanceler,
    hold: JobWaiter,
    views: PredictionRenderer,
) -> Router:
    """POSTs of predictions by version, model and deployment; cancel; the plain `POST /`."""
    routes = Router()

    def create(request: Request, submission: Submission | None) -> Response:
        principal = request.principal.require(Scope.PREDICTIONS_WRITE)
        accepted = ingest.create(reader.parse(request, submission, principal), principal)
        return _reply(request, accepted, hold, views)

    @routes.post("/v1/predictions")
    def create_by_version(request: Request) -> Response:
        return create(request, None)

    @routes.post("/v1/models/{owner}/{name}/predictions")
    def create_by_model(request: Request) -> Response:
        return create(request, reader.build_submission(SubmissionKind.MODEL, request.path_params))

    @routes.post("/v1/deployments/{owner}/{name}/predictions")
    def create_by_deployment(request: Request) -> Response:
        return create(request, reader.build_submission(SubmissionKind.DEPLOYMENT, request.path_params))

    @routes.post("/")
    def create_plain(request: Request) -> Response:
        principal = request.principal.require(Scope.PREDICTIONS_WRITE)
        accepted = ingest.create(reader.parse_plain(request, principal), principal)
        return _reply(request, accepted, hold, views)

    @routes.post("/v1/predictions/{id}/cancel")
    def cancel_prediction(request: Request) -> Response:
        job = cancel.cancel_job(
            request.principal.require(Scope.PREDICTIONS_WRITE).tenant, request.path_params["id"]
        )
        return json_response(200, views.render(job))

    return routes


def _reply(request: Request, accepted: CreateResult, hold: JobWaiter, views: PredictionRenderer) -> Response:
    """201 with the prediction; 202 where the caller's wait ended before the output was there (OpenAPI
    document).
    """
    job, headers = (
        accepted.job,
        {"location": f"{accepted.job.public_base_url}/v1/predictions/{accepted.job.id}"},
    )
    if accepted.is_replay:
        headers["idempotent-replayed"] = "true"
    wait = parse_prefer_wait(request.headers.get("prefer", ""))
    if wait is None:
        return json_response(201, views.render(job), headers)
    job = hold.wait_until_final(job, wait)
    headers["preference-applied"] = f"wait={wait}"
    body: dict[str, Any] = views.render(job, wait_expired=not job.is_terminal)
    return json_response(201 if job.is_terminal else 202, body, headers)
