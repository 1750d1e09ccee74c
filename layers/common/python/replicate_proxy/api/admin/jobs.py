"""Routes of jobs of all tenants: search, counts, one job and its story."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.job_filters import FILTER_PARAMETERS, parse_filter_parameters
from replicate_proxy.api.http import json_response
from replicate_proxy.api.pagination import build_page, decode_id_cursor
from replicate_proxy.api.query_parameters import parse_limit
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_optional_timestamp, format_timestamp
from replicate_proxy.costs.money import format_usd
from replicate_proxy.errors import NotFoundError
from replicate_proxy.ids import is_id

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.operations.job_search import JobCounts, JobSearch
    from replicate_proxy.operations.job_story import JobStory, JobStoryteller
    from replicate_proxy.ports import Clock, JobReader
    from replicate_proxy.services.rendering import PredictionRenderer


_DEFAULT_LIMIT = 50
_MAX_LIMIT = 100
JOB = "/admin/jobs/{tenant}/{id}"
_PARAMETERS = ("id", *FILTER_PARAMETERS, "limit", "cursor")


def add_job_routes(
    router: Router,
    *,
    search: JobSearch,
    jobs: JobReader,
    storyteller: JobStoryteller,
    renderer: PredictionRenderer,
    clock: Clock,
) -> None:
    """Register the reads of jobs."""

    @router.get("/admin/jobs", query=_PARAMETERS)
    def list_jobs(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        if job_id := request.query.get("id"):
            job = _find_job(job_id, search, jobs)
            return json_response(200, build_page(request, [build_job_view(job)] if job else [], None))
        page = search.search(
            parse_filter_parameters(request.query, clock.now()),
            before_id=decode_id_cursor(request.query.get("cursor")),
            limit=parse_limit(request, default=_DEFAULT_LIMIT, maximum=_MAX_LIMIT),
        )
        results = [build_job_view(job) for job in page.jobs]
        next_position = (page.next_before_id,) if page.next_before_id else None
        return json_response(200, build_page(request, results, next_position))

    @router.get("/admin/jobs/counts", query=())
    def count_jobs(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, _build_counts_view(search.count()))

    @router.get(JOB)
    def get_job(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        job = jobs.get(request.path_params["tenant"], parse_job_id(request))
        if job is None:
            raise NotFoundError("no such job")
        return json_response(200, {**renderer.render(job), "operator": build_job_view(job)})

    @router.get(f"{JOB}/story")
    def get_story(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        story = storyteller.tell(request.path_params["tenant"], parse_job_id(request))
        return json_response(200, build_story_view(story))


def _find_job(job_id: str, search: JobSearch, jobs: JobReader) -> Job | None:
    """Return the job with this ID, whoever's it is."""
    entry = search.find(job_id) if is_id(job_id) else None
    return jobs.get(entry.tenant, entry.id) if entry else None


def build_job_view(job: Job) -> dict[str, Any]:
    """Return what operators see of a job in a list: no input and no output."""
    cost = job.cost.micro_usd if job.cost else None
    return {
        "id": job.id,
        "tenant": job.tenant,
        "status": job.status.value,
        "wait_reason": job.wait_reason.value if job.wait_reason else None,
        "model": job.model or job.submission.target,
        "requested_model": job.requested_model,
        "key_id": job.key_id,
        "batch_id": job.batch_id,
        "metadata": dict(job.metadata),
        "retried_from": job.retried_from,
        "retried_as": job.retried_as,
        "created_at": format_timestamp(job.created_at),
        "completed_at": format_optional_timestamp(job.completed_at),
        "next_check_at": format_optional_timestamp(job.next_check_at),
        "cancel_requested_at": format_optional_timestamp(job.cancel_requested_at),
        "attempt": job.attempt,
        "checks": job.checks,
        "failed_submissions": job.failed_submissions,
        "replicate_id": job.replicate_id,
        "error": job.error,
        "error_class": job.end_reason.value if job.end_reason else None,
        "cost_usd": None if cost is None else format_usd(cost),
        "correlation_id": job.correlation_id,
    }


def build_story_view(story: JobStory) -> dict[str, Any]:
    """Return the story of a job."""
    logs = story.logs
    return {
        "job": build_job_view(story.job),
        "events": [
            {
                "at": format_timestamp(event.at),
                "kind": event.kind.value,
                "name": event.name,
                "details": event.details,
            }
            for event in story.events
        ],
        "logs": {
            "correlation_id": logs.correlation_id,
            "log_groups": list(logs.log_groups),
            "query": logs.query,
            "since": format_timestamp(logs.since),
            "until": format_optional_timestamp(logs.until),
        },
    }


def _build_counts_view(counts: JobCounts) -> dict[str, Any]:
    return {
        "unfinished": {status.value: number for status, number in counts.unfinished.items()},
        "complete": counts.is_complete,
        "overdue": counts.overdue,
        "ended": {status.value: number for status, number in counts.ended.items()},
        "ended_since": counts.ended_since.isoformat(),
    }


def parse_job_id(request: Request) -> str:
    """Return the ID in the path. Raises NotFoundError if it cannot be one."""
    job_id = request.path_params["id"]
    if not is_id(job_id):
        raise NotFoundError("no such job")
    return job_id
