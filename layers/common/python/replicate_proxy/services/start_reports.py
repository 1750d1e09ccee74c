"""Whether Replicate is asked to report the start of a prediction.

A report of the start is a tenth of what a job costs at AWS: a request, an event, a message, two invocations
and a write of the job. Replicate is asked for it where a subscriber needs it. A caller who polls learns
of the start by the refresh of its progress, all others by the report of the end, which has the time of the
start.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.timed_cache import TimedCache
from replicate_proxy.webhooks.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.webhooks.endpoints import Endpoint

# An endpoint that is newer gets the `start` of a prediction with its end.
_CACHE_SECONDS = 30.0
_MAX_CACHED_TENANTS = 1000


class StartReports:
    """Decides for each job, by its webhook and the endpoints of its tenant.

    `list_endpoints(tenant)` raises RetryableError. `are_always_wanted`: a consumer of the event bus may wait
    for the start of any prediction.
    """

    def __init__(
        self,
        list_endpoints: Callable[[str], Sequence[Endpoint]],
        *,
        are_always_wanted: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._list_endpoints = list_endpoints
        self._are_always_wanted = are_always_wanted
        self._known: TimedCache[bool] = TimedCache(_MAX_CACHED_TENANTS, monotonic=monotonic)

    def are_wanted(self, job: Job) -> bool:
        """Return whether a subscriber needs the start of this job when it happens.

        For a line of a large batch only its own webhook counts, since the lines have thousands of starts.
        """
        if EventKind.START in (job.webhook_events or ()):
            return True
        if job.batch_line is not None:
            return False
        # Its queue time ends with the start.
        is_timed = job.fallback_after_seconds is not None
        return is_timed or self._are_always_wanted or self._has_listener(job.tenant)

    def _has_listener(self, tenant: str) -> bool:
        known = self._known.find_fresh(tenant)
        if known is not None:
            return known
        try:
            endpoints = self._list_endpoints(tenant)
        except RetryableError as error:
            logger.warning("endpoints not read", reason=str(error))
            return True
        listens = any(
            endpoint.is_enabled and endpoint.subscribes_to(EventKind.START) for endpoint in endpoints
        )
        self._known.put(tenant, listens, _CACHE_SECONDS)
        return listens
