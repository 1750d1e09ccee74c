"""Pages of predictions: the list, one prediction, and running it again."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.job_filters import FILTER_PARAMETERS, parse_filter_parameters
from replicate_proxy.api.pagination import decode_id_cursor, encode_cursor
from replicate_proxy.api.webhooks.views import build_attempt_view
from replicate_proxy.audit.model import AuditAction
from replicate_proxy.auth.principal import Scope
from replicate_proxy.auth.tenants import is_tenant_name
from replicate_proxy.console.charts import build_waterfall
from replicate_proxy.console.delivery_rows import build_delivery_rows
from replicate_proxy.console.formatting import find_safe_url, format_json
from replicate_proxy.console.job_views import (
    STATUS_KINDS,
    WAIT_TEXTS,
    build_job_rows,
    build_story,
    describe_wait,
    find_image,
    find_ran_seconds,
    find_requested_submission,
    name_model,
)
from replicate_proxy.console.reads import find_batch, list_tenant_names, read_together
from replicate_proxy.errors import NotFoundError, parameter_error
from replicate_proxy.ids import is_id
from replicate_proxy.jobs.metadata import format_metadata
from replicate_proxy.jobs.model import EndReason, JobStatus
from replicate_proxy.operations.bulk.model import describe_filter
from replicate_proxy.services.query import add_jobs_ahead

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.jobs.job_filter import JobFilter
    from replicate_proxy.jobs.model import Job

PAGE_SIZE = 50
_MAX_FILES = 200
# Of a prediction that runs for hours, all its events would not fit into the response.
_MAX_ROWS = 500
_PREDICTION = "/predictions/{tenant}/{id}"
AGES = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
_MODEL_PATTERN = re.compile(r"[\x21-\x7e]{1,200}")


def add_prediction_pages(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the list of predictions, the page of one, and what it can do."""

    @pages.get("/predictions")
    def list_predictions(page: Page) -> Response:
        return _show_list(page, services)

    @pages.get(_PREDICTION)
    def show_prediction(page: Page) -> Response:
        try:
            job = _find_job(page, services)
        except NotFoundError:
            return _show_batch(page, services)
        return _show(page, services, job)

    _add_action_pages(pages, services)

    @pages.get(f"{_PREDICTION}/run")
    def show_run(page: Page) -> Response:
        page.signed_in_viewer.require_write()
        job = _find_job(page, services)
        return _show_run(page, job, format_json(services.documents.load(job.input)))

    @pages.post(f"{_PREDICTION}/run")
    def run(page: Page) -> Response:
        job = _find_job(page, services)
        text = page.form.get_text("input")
        return page.attempt(
            lambda: _run_again(page, services, job),
            lambda problem: _show_run(page, job, text, problem=problem),
        )


def _add_action_pages(pages: PageRouter, services: ConsoleServices) -> None:
    @pages.post(f"{_PREDICTION}/cancel")
    def cancel(page: Page) -> Response:
        return _act(page, services, services.admin.job_actions.cancel, notice="cancel")

    @pages.post(f"{_PREDICTION}/retry", operator=True)
    def retry(page: Page) -> Response:
        job = _find_job(page, services)

        def change() -> Response:
            created = services.admin.job_retries.retry(job.tenant, job.id).job
            return page.redirect(f"/predictions/{created.tenant}/{created.id}", notice="retried")

        return page.attempt(change, lambda problem: _show(page, services, job, problem=problem))

    @pages.post(f"{_PREDICTION}/redeliver", operator=True)
    def redeliver(page: Page) -> Response:
        return _act(page, services, services.admin.job_actions.redeliver, notice="redelivered")

    @pages.post(f"{_PREDICTION}/harvest", operator=True)
    def harvest(page: Page) -> Response:
        return _act(page, services, services.admin.job_actions.harvest, notice="harvest")

    @pages.post(f"{_PREDICTION}/delete")
    def delete(page: Page) -> Response:
        return _act(
            page,
            services,
            services.admin.job_actions.delete,
            notice="prediction_deleted",
            next_path="/predictions",
        )


def _show_list(page: Page, services: ConsoleServices) -> Response:
    tenant = choose_tenant(page)
    if job_id := page.request.query.get("id", "").strip():
        return _open_by_id(page, services, tenant, job_id)
    job_filter = _parse_filter(page, tenant)
    before_id = decode_id_cursor(page.request.query.get("cursor"))
    read = read_together(
        found=lambda: services.admin.job_search.search(job_filter, before_id=before_id, limit=PAGE_SIZE),
        names=lambda: list_tenants_to_choose(page, services),
    )
    rows = build_job_rows(read["found"].jobs, services.renderer, services.images_url, page.now)
    next_id = read["found"].next_before_id
    return page.render(
        "predictions.html",
        tenant=tenant,
        tenants=read["names"],
        statuses=[*JobStatus, "unfinished"],
        classes=list(EndReason),
        ages=list(AGES),
        has_filter=bool(describe_filter(replace(job_filter, tenant=None))),
        rows=rows,
        bulk_url=_build_bulk_url(page, job_filter),
        next_url=None if next_id is None else page.url_with(cursor=encode_cursor((next_id,))),
    )


def _open_by_id(page: Page, services: ConsoleServices, tenant: str | None, job_id: str) -> Response:
    """Lead to the prediction, or to the batch of a known tenant. Raises a 400 ApiError if there is none.

    A tenant is led to its own page of any ID, which another tenant's does not have either.
    """
    owner = tenant
    if page.signed_in_viewer.is_operator and is_id(job_id):
        entry = services.admin.job_search.find(job_id)
        owner = entry.tenant if entry is not None else tenant
    if owner is None or not is_id(job_id):
        raise parameter_error("id", "must be the ID of a prediction here, not that of Replicate")
    return page.redirect(f"/predictions/{owner}/{job_id}")


def choose_tenant(page: Page) -> str | None:
    """Return the tenant that the page is about: the viewer's own, or for operators the parameter."""
    viewer = page.signed_in_viewer
    tenant = page.request.query.get("tenant") or viewer.tenant
    if tenant is None:
        return None
    if not is_tenant_name(tenant):
        raise NotFoundError("no such tenant")
    return viewer.require_tenant(tenant)


def list_tenants_to_choose(page: Page, services: ConsoleServices) -> list[str]:
    """Return the tenants of which the viewer can choose one, none for a tenant itself."""
    return list_tenant_names(services) if page.signed_in_viewer.is_operator else []


def _build_bulk_url(page: Page, job_filter: JobFilter) -> str | None:
    """Return where operators act on all that match, None if the filter selects everything."""
    values = describe_filter(job_filter)
    return (
        page.url("/bulk-operations/new", **values) if page.signed_in_viewer.is_operator and values else None
    )


def _parse_filter(page: Page, tenant: str | None) -> JobFilter:
    """Return the filter of the parameters, which are those of operators' lists and of bulk operations."""
    query, age = page.request.query, _parse_age(page)
    values = {name: query.get(name, "").strip() for name in FILTER_PARAMETERS}
    job_filter = parse_filter_parameters({**values, "tenant": tenant or ""}, page.now)
    since = filter(None, (job_filter.created_after, page.now - age if age else None))
    return replace(job_filter, model=_parse_model(page), created_after=max(since, default=None))


def _parse_model(page: Page) -> str | None:
    text = (page.request.query.get("model") or "").strip()
    if text and not _MODEL_PATTERN.fullmatch(text):
        raise parameter_error("model", "must be the name of a model, like owner/name")
    return text or None


def _parse_age(page: Page) -> timedelta | None:
    text = page.request.query.get("age")
    if not text:
        return None
    if text not in AGES:
        raise parameter_error("age", f"must be one of {', '.join(AGES)}")
    return AGES[text]


def _find_job(page: Page, services: ConsoleServices) -> Job:
    """Return the job of the address. Raises NotFoundError, also for another tenant's."""
    tenant, job_id = page.request.path_params["tenant"], page.request.path_params["id"]
    page.signed_in_viewer.require_tenant(tenant)
    job = services.jobs.get(tenant, job_id) if is_tenant_name(tenant) and is_id(job_id) else None
    if job is None:
        raise NotFoundError("no such prediction")
    return job


def _show_batch(page: Page, services: ConsoleServices) -> Response:
    """Lead to the batch with the ID of the address: dead letters do not say which of both it is.

    Raises NotFoundError if it is that of neither, also for another tenant's.
    """
    batch = find_batch(page, services).batch
    return page.redirect(f"/batches/{batch.tenant}/{batch.id}")


def _act(
    page: Page,
    services: ConsoleServices,
    act: Callable[[str, str], object],
    *,
    notice: str,
    next_path: str = "",
) -> Response:
    """Let the operator act on the job; if that is refused, show its page with the problem."""
    job = _find_job(page, services)

    def change() -> Response:
        act(job.tenant, job.id)
        return page.redirect(next_path or f"/predictions/{job.tenant}/{job.id}", notice=notice)

    return page.attempt(change, lambda problem: _show(page, services, job, problem=problem))


def _show(
    page: Page, services: ConsoleServices, job: Job, *, problem: dict[str, Any] | None = None
) -> Response:
    read = read_together(
        deliveries=lambda: services.deliveries.list_by_job(job.tenant, job.id),
        attempts=lambda: services.deliveries.list_attempts_by_job(job.tenant, job.id),
        view=lambda: _render(services, job),
        story=lambda: _read_story(page, services, job),
    )
    view, deliveries = read["view"], read["deliveries"]
    files = [
        {
            **record,
            "thumbnail": find_image(record.get("thumbnail_url"), services.images_url),
            "link": find_safe_url(record.get("url")),
        }
        for record in view["proxy"]["files"]
    ]
    return page.render(
        "prediction.html",
        problem=problem,
        job=job,
        view=view,
        kind=STATUS_KINDS[job.status],
        wait_texts=WAIT_TEXTS,
        wait_text=describe_wait(job),
        model=name_model(job),
        seconds=find_ran_seconds(job, page.now),
        hops=build_waterfall(job, deliveries[-_MAX_ROWS:], page.now),
        files=files,
        max_files=_MAX_FILES,
        deliveries=build_delivery_rows(deliveries, page.now),
        attempts=[build_attempt_view(attempt) for attempt in read["attempts"]],
        max_rows=_MAX_ROWS,
        output_urls=_list_urls(view.get("output")),
        story=read["story"],
    )


def _render(services: ConsoleServices, job: Job) -> dict[str, Any]:
    view = services.renderer.render(job)
    add_jobs_ahead(view, job, services.lines)
    return view


def _read_story(page: Page, services: ConsoleServices, job: Job) -> dict[str, Any] | None:
    """Return the story for operators: it names those who have acted on the job."""
    if not page.signed_in_viewer.is_operator:
        return None
    return build_story(services.admin.storyteller.tell(job.tenant, job.id))


def _list_urls(output: Any) -> list[str]:
    values = output if isinstance(output, list) else [output]
    return [url for url in map(find_safe_url, values) if url]


def _show_run(page: Page, job: Job, text: str, *, problem: dict[str, Any] | None = None) -> Response:
    return page.render(
        "prediction_run.html",
        job=job,
        model=name_model(job) if job.requested_model is None else job.requested_model,
        text=text,
        # Kept after a problem: what may have been created is found, and not created again.
        idempotency_key=(page.form.get("idempotency_key") if problem else "") or secrets.token_hex(16),
        problem=problem,
    )


def _run_again(page: Page, services: ConsoleServices, job: Job) -> Response:
    principal = page.signed_in_viewer.act_for(job.tenant)
    if not page.signed_in_viewer.is_operator:
        principal.require(Scope.PREDICTIONS_WRITE)
    body = json.dumps({"input": page.form.get_json("input")}).encode()
    headers = {"x-metadata": format_metadata(job.metadata)} if job.metadata else {}
    if form_key := page.form.get("idempotency_key"):
        # A second click creates nothing; another input in a form that the browser has kept does.
        headers["idempotency-key"] = f"console-{form_key}-{hashlib.sha256(body).hexdigest()}"
    request = replace(
        page.request, headers=headers, query={}, body=body, public_base_url=page.public_base_url
    )
    with services.audit.change(
        AuditAction.CREATE_PREDICTION,
        f"jobs/{job.tenant}/{job.id}",
        tenant=job.tenant,
        parameters={"again": True},
    ) as change:
        parsed = services.parser.parse(request, find_requested_submission(job), principal)
        result = services.creator.create(parsed, principal)
        created = result.job
        change.after = {
            "id": created.id,
            "model": name_model(created),
            **({"is_repeated": True} if result.is_replay else {}),
        }
    notice = "created_before" if result.is_replay else "created"
    return page.redirect(f"/predictions/{created.tenant}/{created.id}", notice=notice)
