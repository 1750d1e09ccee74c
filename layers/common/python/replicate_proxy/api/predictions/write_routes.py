"""Creating and cancelling predictions, as Replicate's clients ask for it, and the service's own `POST /`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.http import Request, Response, Routes, json_response
from replicate_proxy.api.predictions.bodies import wait_of
from replicate_proxy.auth.principal import Scope
from replicate_proxy.jobs.model import Submission, SubmissionKind

if TYPE_CHECKING:
    from replicate_proxy.api.predictions.create_request import CreateReader
    from replicate_proxy.services.cancel import Cancel
    from replicate_proxy.services.ingest import Acceptance, Ingest
    from replicate_proxy.services.rendering import Views
    from replicate_proxy.services.wait import Hold


def ingest_routes(
    *, reader: CreateReader, ingest: Ingest, cancel: Cancel, hold: Hold, views: Views
) -> Routes:
    """POSTs of predictions by version, model and deployment; cancel; the plain `POST /`."""
    routes = Routes()

    def create(request: Request, submission: Submission | None) -> Response:
        principal = request.principal.require(Scope.PREDICTIONS_WRITE)
        accepted = ingest.accept(reader.read(request, submission, principal), principal)
        return _reply(request, accepted, hold, views)

    @routes.post("/v1/predictions")
    def create_by_version(request: Request) -> Response:
        return create(request, None)

    @routes.post("/v1/models/{owner}/{name}/predictions")
    def create_by_model(request: Request) -> Response:
        return create(request, reader.named(SubmissionKind.MODEL, request.params))

    @routes.post("/v1/deployments/{owner}/{name}/predictions")
    def create_by_deployment(request: Request) -> Response:
        return create(request, reader.named(SubmissionKind.DEPLOYMENT, request.params))

    @routes.post("/")
    def create_plain(request: Request) -> Response:
        principal = request.principal.require(Scope.PREDICTIONS_WRITE)
        accepted = ingest.accept(reader.read_plain(request, principal), principal)
        return _reply(request, accepted, hold, views)

    @routes.post("/v1/predictions/{id}/cancel")
    def cancel_prediction(request: Request) -> Response:
        job = cancel.cancel(request.principal.require(Scope.PREDICTIONS_WRITE).tenant, request.params["id"])
        return json_response(200, views.render(job))

    return routes


def _reply(request: Request, accepted: Acceptance, hold: Hold, views: Views) -> Response:
    """201 with the prediction; 202 where the caller's wait ended before the output was there (OpenAPI
    document).
    """
    job, headers = accepted.job, {"location": f"{accepted.job.base_url}/v1/predictions/{accepted.job.id}"}
    if accepted.replayed:
        headers["idempotent-replayed"] = "true"
    wait = wait_of(request.headers.get("prefer", ""))
    if wait is None:
        return json_response(201, views.render(job), headers)
    job = hold.until_final(job, wait)
    headers["preference-applied"] = f"wait={wait}"
    body: dict[str, Any] = views.render(job, still_waiting=not job.is_terminal)
    return json_response(201 if job.is_terminal else 202, body, headers)
