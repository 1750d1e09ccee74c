"""Pages of batches: the list, and one batch with its predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.pagination import decode_id_cursor, encode_cursor
from replicate_proxy.audit.model import AuditAction
from replicate_proxy.console.job_views import build_job_rows
from replicate_proxy.console.pages.predictions import choose_tenant, list_tenants_to_choose
from replicate_proxy.console.reads import find_batch, read_together
from replicate_proxy.console.responses import redirect
from replicate_proxy.errors import NotFoundError
from replicate_proxy.services.batch_views import summarize_batch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.services.batch_reader import BatchState

_PAGE_SIZE = 20
_MAX_SLICE_DIGITS = 6
_LINE_KINDS: Mapping[str, str] = {
    "starting": "waiting",
    "processing": "active",
    "succeeded": "good",
    "failed": "bad",
    "rejected": "bad",
    "canceled": "ended",
    "deleted": "ended",
}
_BATCH = "/batches/{tenant}/{id}"


def add_batch_pages(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the list of batches, the page of one, and its cancel."""

    @pages.get("/batches")
    def list_batches(page: Page) -> Response:
        tenant = choose_tenant(page)
        before_id = decode_id_cursor(page.request.query.get("cursor"))
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
            batches=[_build_row(state, page.now) for state in found.states],
            next_url=page.url_with(cursor=encode_cursor((next_id,))) if next_id else None,
        )

    @pages.get(_BATCH)
    def show_batch(page: Page) -> Response:
        state = find_batch(page, services)
        if state.batch.large is not None:
            return _show_large_batch(page, state, services)
        return page.render(
            "batch.html",
            batch=_build_row(state, page.now),
            rows=build_job_rows(state.jobs, services.renderer, services.images_url, page.now),
            missing=len(state.batch.job_ids) - len(state.jobs),
        )

    @pages.get(f"{_BATCH}/results")
    def get_results(page: Page) -> Response:
        batch = find_batch(page, services).batch
        url = services.results.create_file_url(batch)
        if url is None:
            raise NotFoundError("no results yet")
        return redirect(url)

    @pages.post(f"{_BATCH}/cancel")
    def cancel_batch(page: Page) -> Response:
        state = find_batch(page, services)
        _cancel(state, services)
        return page.redirect(f"/batches/{state.batch.tenant}/{state.batch.id}", notice="batch_canceled")


def _cancel(state: BatchState, services: ConsoleServices) -> None:
    """Cancel what has not ended of a batch, and record it."""
    batch = state.batch
    with services.audit.change(
        AuditAction.CANCEL_BATCH, f"batches/{batch.tenant}/{batch.id}", tenant=batch.tenant
    ) as change:
        if batch.large is not None:
            services.large_batches.cancel(batch.tenant, batch.id)
            change.after = {"unfinished": batch.large.created - state.counts.ended}
        else:
            active = [job for job in state.jobs if not job.is_terminal]
            for job in active:
                services.canceler.request_cancel(job)
            change.after = {"canceled": [job.id for job in active]}


def _show_large_batch(page: Page, state: BatchState, services: ConsoleServices) -> Response:
    """Show the counts, and the lines of one slice of the file."""
    text = page.request.query.get("slice", "")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_SLICE_DIGITS else 0
    large = state.batch.large
    slices = large.slices if large is not None else 0
    lines = services.results.read_views(state.batch, number) if number < slices else []
    return page.render(
        "large_batch.html",
        batch=_build_row(state, page.now),
        lines=lines,
        kinds=_LINE_KINDS,
        previous_url=page.url_with(slice=str(number - 1)) if number else None,
        next_url=page.url_with(slice=str(number + 1)) if number + 1 < slices else None,
    )


def _build_row(state: BatchState, now: datetime) -> dict[str, Any]:
    """Return the batch with the share of its predictions that ended, in all and by how."""
    view = summarize_batch(state, now)
    counts, total = view["counts"], view["total"]
    if state.batch.large is not None:
        ended = total - counts["unfinished"]
        micro_usd = state.counts.cost_micro_usd
    else:
        ended = sum(job.is_terminal for job in state.jobs) + total - len(state.jobs)
        micro_usd = sum(job.cost.micro_usd or 0 for job in state.jobs if job.cost)
    shown = {**counts, "failed": counts["failed"] + counts.get("rejected", 0)}
    return {
        **view,
        "tenant": state.batch.tenant,
        "ended": ended,
        "percent": round(100 * ended / total) if total else 0,
        "widths": {
            status: 100 * shown[status] / total if total else 0
            for status in ("succeeded", "failed", "canceled")
        },
        "micro_usd": micro_usd,
    }
