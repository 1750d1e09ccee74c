"""Reading jobs: one by id, or a page of the caller's own, newest first."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ApiError, InvalidField, NotFoundError
from replicate_proxy.ids import is_id, lowest_id_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import JobReader
    from replicate_proxy.services.views import Views

__all__ = ["PAGE_SIZE", "PredictionPage", "Query"]

# Replicate's own page size (OpenAPI document, GET /predictions).
PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class PredictionPage:
    """Rendered predictions and the cursor of the page after them."""

    results: Sequence[dict[str, Any]]
    next_cursor: str | None


class Query:
    """Everything is read under the caller's tenant; another tenant's job does not exist here."""

    def __init__(self, store: JobReader, views: Views) -> None:
        self._store = store
        self._views = views

    def job(self, tenant: str, job_id: str) -> Job:
        """Raises NotFoundError."""
        job = self._store.get(tenant, job_id) if is_id(job_id) else None
        if job is None:
            raise NotFoundError("no such job")
        return job

    def prediction(self, tenant: str, job_id: str) -> dict[str, Any]:
        return self._views.render(self.job(tenant, job_id))

    def page(
        self,
        tenant: str,
        *,
        cursor: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> PredictionPage:
        """`created_after` counts inclusive, `created_before` exclusive, as at Replicate."""
        bounds = [lowest_id_at(created_before)] if created_before else []
        bounds += [_id_of(cursor)] if cursor else []
        found = self._store.page(
            tenant,
            below=min(bounds, default=None),
            from_id=lowest_id_at(created_after) if created_after else None,
            limit=PAGE_SIZE,
        )
        results = self._views.render_page(found.jobs)
        following = found.next_before
        if len(results) < len(found.jobs):
            following = found.jobs[len(results) - 1].id
        return PredictionPage(results=results, next_cursor=_cursor_of(following) if following else None)


def _cursor_of(job_id: str) -> str:
    return base64.urlsafe_b64encode(job_id.encode()).decode().rstrip("=")


def _id_of(cursor: str) -> str:
    try:
        job_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        job_id = ""
    if not is_id(job_id):
        field = InvalidField("invalid_cursor", "cursor", "cursor is not one that this API gave out")
        raise ApiError(400, "Invalid cursor", field.description, invalid_fields=[field])
    return job_id
