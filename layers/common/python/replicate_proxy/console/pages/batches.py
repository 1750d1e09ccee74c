"""Pages of batches: the list, and one batch with its predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.pagination import decode_id_cursor, encode_cursor
from replicate_proxy.audit.model import AuditAction
from replicate_proxy.auth.tenants import is_tenant_name
from replicate_proxy.console.job_views import build_job_rows
from replicate_proxy.console.pages.predictions import choose_tenant, list_tenants_to_choose
from replicate_proxy.console.reads import read_together
from replicate_proxy.contracts.predictions import build_batch_summary
from replicate_proxy.errors import NotFoundError
from replicate_proxy.jobs.model import JobStatus

if TYPE_CHECKING:
    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.services.query import BatchState

_PAGE_SIZE = 20
_BATCH = "/batches/{tenant}/{id}"


def add_batch_pages(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the list of batches, the page of one, and its cancel."""

    @pages.get("/batches")
    def list_batches(page: Page) -> Response:
        tenant = choose_tenant(page)
        before_id = decode_id_cursor(page.request.query.get("cursor") or None)
        read = read_together(
            found=lambda: services.admin.batches.read(tenant, before_id=before_id, limit=_PAGE_SIZE),
            names=lambda: list_tenants_to_choose(page, services),
        )
        found = read["found"]
        next_id = found.next_before_id
        return page.render(
            "batches.html",
            tenant=tenant,
            tenants=read["names"],
            batches=[_build_row(state) for state in found.states],
            next_url=page.url_with(cursor=encode_cursor((next_id,))) if next_id else None,
        )

    @pages.get(_BATCH)
    def show_batch(page: Page) -> Response:
        state = _find(page, services)
        return page.render(
            "batch.html",
            batch=_build_row(state),
            rows=build_job_rows(state.jobs, services.documents, services.images_url, page.now),
            missing=len(state.batch.job_ids) - len(state.jobs),
        )

    @pages.post(f"{_BATCH}/cancel")
    def cancel_batch(page: Page) -> Response:
        state = _find(page, services)
        batch = state.batch
        with services.audit.change(
            AuditAction.CANCEL_BATCH, f"batches/{batch.tenant}/{batch.id}", tenant=batch.tenant
        ) as change:
            active = [job for job in state.jobs if not job.is_terminal]
            for job in active:
                services.canceler.request_cancel(job)
            change.after = {"canceled": [job.id for job in active]}
        return page.redirect(f"/batches/{batch.tenant}/{batch.id}", notice="batch_canceled")


def _find(page: Page, services: ConsoleServices) -> BatchState:
    """Return the batch of the address. Raises NotFoundError, also for another tenant's."""
    tenant = page.signed_in.require_tenant(page.request.path_params["tenant"])
    if not is_tenant_name(tenant):
        raise NotFoundError("no such batch")
    return services.batches.get(tenant, page.request.path_params["id"])


def _build_row(state: BatchState) -> dict[str, Any]:
    """Return the batch with the share of its predictions that ended, in all and by how."""
    total = len(state.batch.job_ids)
    ended = sum(job.is_terminal for job in state.jobs) + total - len(state.jobs)
    widths = {
        status.value: 100 * sum(job.status is status for job in state.jobs) / total
        for status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)
    }
    return {
        **build_batch_summary(state.batch, state.jobs),
        "tenant": state.batch.tenant,
        "ended": ended,
        "percent": round(100 * ended / total),
        "widths": widths,
        "micro_usd": sum(job.cost.micro_usd or 0 for job in state.jobs if job.cost),
    }
