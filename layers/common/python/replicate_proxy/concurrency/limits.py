"""The configured limits, read again every few seconds: a change applies to jobs that wait, too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from replicate_proxy.cached_reading import CachedReading
from replicate_proxy.concurrency.model import (
    Limit,
    name_model_limit,
    name_tenant_limit,
    parse_model,
    parse_tenant,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.concurrency.ports import TenantLimitStore
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.model_entries.directory import EntryDirectory

CACHE_SECONDS = 10.0


class ConcurrencyLimits:
    """Finds the limits that apply. `default_for_tenants` is for tenants without one of their own; 0: none.

    The entries are read only for jobs that were accepted with one.
    """

    def __init__(
        self,
        tenants: TenantLimitStore,
        entries: EntryDirectory,
        *,
        default_for_tenants: int = 0,
        cache_seconds: float = CACHE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenants = CachedReading(
            "limits of tenants", tenants.read, max_age_seconds=cache_seconds, monotonic=monotonic
        )
        self._entries = entries
        self._default_for_tenants = default_for_tenants

    def find(self, job: Job) -> tuple[Limit, ...]:
        """Return the limits of a job: that of its tenant first. Raises RetryableError.

        Where waiting for a slot leads to a fallback, fallbacks need no slot of the entry.
        """
        names = [name_tenant_limit(job.tenant)]
        if job.entry_name and not (job.fallback_after_seconds and job.has_fallen_back):
            names.append(name_model_limit(job.entry_name))
        found = ((name, self.find_max(name)) for name in names)
        return tuple(Limit(name, number) for name, number in found if number is not None)

    def find_max(self, limit_name: str) -> int | None:
        """Return the number of slots of a limit, None if there is no such limit. Raises RetryableError."""
        tenant = parse_tenant(limit_name)
        if tenant is not None:
            return self._tenants.get().get(tenant, self._default_for_tenants) or None
        entry = self._entries.find(parse_model(limit_name))
        return entry.max_concurrency if entry is not None else None
