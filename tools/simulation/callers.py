"""Callers of the API.

They share few inputs and few tenants, so that predictions look alike: most guarantees are easy to keep
while every request is unique.
"""

from __future__ import annotations

import random
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.principal import Principal
from replicate_proxy.contracts.predictions import build_prediction_view
from replicate_proxy.errors import ApiError, NotFoundError, ProxyError
from replicate_proxy.jobs.model import Submission, SubmissionKind
from replicate_proxy.model_entries.entry import FallbackTarget, ModelEntry
from replicate_proxy.services.ingest import JobRequest
from tools.simulation.budget_invariants import BUDGETED_TENANT
from tools.simulation.concurrency_invariants import LIMITED_ENTRY
from tools.simulation.replicate import MAX_WIDTH, MISSING_MODEL
from tools.simulation.scheduler import ProcessEndedError
from tools.simulation.world import ServiceUnavailableError

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from tools.simulation.invariants import Invariants
    from tools.simulation.run import RunSettings
    from tools.simulation.world import World

TENANTS = ("acme", "globex")
_INPUTS = ("a cat", "a cat", "a cat", "a dog")
_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_FALLBACKS = (
    FallbackTarget(target="acme/second", fields={"prompt": "text"}),
    FallbackTarget(target="acme/third"),
)
# Replicate does not know the target of the second, so a request that pins no version goes on at once.
_ENTRIES = (
    ModelEntry(name="acme/model", fallbacks=_FALLBACKS),
    ModelEntry(name="acme/model", target=MISSING_MODEL, fallbacks=_FALLBACKS),
)
_QUEUE_LIMITS_SECONDS = (5, 30, 100)
_BASE_URL = "https://api.proxy.test/prod"
_MAX_CREATE_ATTEMPTS = 6
_SHORTEST_RETENTION_SECONDS = 3600
_EVENT_FILTERS = (None, ("completed",), ("start", "completed"), ("start", "output", "logs", "completed"))


class Callers:
    """Create jobs and batches, cancel some of them, and read them as clients do."""

    def __init__(
        self,
        world: World,
        invariants: Invariants,
        settings: RunSettings,
        *,
        has_budgets: bool,
        has_limits: bool,
    ) -> None:
        self._world = world
        self._invariants = invariants
        self._settings = settings
        self._has_budgets = has_budgets
        self._has_limits = has_limits

    def run(self, tenant: str | None = None) -> None:
        """Create a job or a batch, of one of the tenants."""
        source = self._random
        tenant = tenant or source.choice(TENANTS)
        has_budget = self._has_budgets and tenant == BUDGETED_TENANT
        principal = Principal(tenant, "key-1", has_budget=has_budget)
        if source.random() < 0.06:
            self._create_batch(principal)
            return
        request = self._build_request(principal.tenant)
        job = self._create(request, principal)
        if job is None:
            return
        if source.random() < 0.15:
            self._world.scheduler.sleep(source.expovariate(1 / 10))
            self._cancel(job)
        self._watch(job)

    def _build_request(self, tenant: str) -> JobRequest:
        source = self._random
        draw = source.random()
        prompt = "rejected" if draw < 0.02 else "unpaid" if draw < 0.03 else source.choice(_INPUTS)
        if source.random() < 0.7:
            submission = Submission(kind=SubmissionKind.VERSION, version=_VERSION)
        else:
            submission = Submission(kind=SubmissionKind.MODEL, owner="acme", name="model")
        return JobRequest(
            submission=submission,
            input={"prompt": prompt, **self._draw_width()},
            public_base_url=_BASE_URL,
            correlation_id=self._name,
            webhook=build_hook_url(tenant) if source.random() < 0.5 else None,
            webhook_events=source.choice(_EVENT_FILTERS),
            cancel_after_seconds=source.choice((5, 30, 600)) if source.random() < 0.12 else None,
            idempotency_key=self._name if source.random() < 0.8 else None,
            entry=self._draw_entry(),
            retention_seconds=self._draw_retention(),
        )

    def _draw_entry(self) -> ModelEntry | None:
        """Return an entry for some of the requests, without a draw from the random numbers of the others."""
        limited = LIMITED_ENTRY if self._has_limits and self._draw_is_limited() else None
        if self._settings.fallback_share == 0:
            return limited
        source = random.Random(f"{self._world.scheduler.seed}/{self._name}/entry")
        return self._limit_queue_time(source) if source.random() < self._settings.fallback_share else limited

    def _limit_queue_time(self, source: random.Random) -> ModelEntry:
        """Return an entry with fallbacks, for some of the requests with a limit of the queue time."""
        entry = source.choice(_ENTRIES)
        if source.random() >= self._settings.queue_limit_share:
            return entry
        return replace(entry, fallback_after_seconds=source.choice(_QUEUE_LIMITS_SECONDS))

    def _draw_retention(self) -> int | None:
        share = self._settings.delete_share
        source = random.Random(f"{self._world.scheduler.seed}/{self._name}/retention")
        return _SHORTEST_RETENTION_SECONDS if share > 0 and source.random() < share else None

    def _draw_is_limited(self) -> bool:
        return random.Random(f"{self._world.scheduler.seed}/{self._name}/limited").random() < 0.5

    def _draw_width(self) -> dict[str, Any]:
        """Return a width for the input that may be too large, without a draw from the other numbers."""
        if self._settings.invalid_share == 0:
            return {}
        source = random.Random(f"{self._world.scheduler.seed}/{self._name}/width")
        return {"width": MAX_WIDTH + 1 if source.random() < self._settings.invalid_share else MAX_WIDTH}

    def _create(self, request: JobRequest, principal: Principal) -> Job | None:
        if request.idempotency_key is not None:
            self._invariants.keyed_callers.add(request.correlation_id)
        for attempt in range(_MAX_CREATE_ATTEMPTS):
            try:
                result = self._world.call_api(lambda ingest: ingest.create(request, principal))
            except ServiceUnavailableError as error:
                self._note_refusal(error, is_first=attempt == 0)
                # Without a key, a request of unknown outcome is not repeated.
                if request.idempotency_key is None:
                    return None
                self._world.scheduler.sleep(self._random.uniform(0.5, 2.0) * 2**attempt)
                continue
            except ApiError as error:
                self._expect_refusal(error, [request], principal, is_first=attempt == 0)
                return None
            self._invariants.paused_callers.discard(self._name)
            self._invariants.accept(result.job)
            return result.job
        return None

    def _note_refusal(self, error: ServiceUnavailableError, *, is_first: bool) -> None:
        """Record the caller as long as all of its requests were refused, so that it has nothing."""
        if not error.is_refused:
            self._invariants.paused_callers.discard(self._name)
        elif is_first:
            self._invariants.paused_callers.add(self._name)

    def _expect_refusal(
        self, error: ApiError, requests: list[JobRequest], principal: Principal, *, is_first: bool
    ) -> None:
        """Raise the error, unless a budget is spent, an input is invalid or the tenant is being erased.

        Where an earlier attempt had an unknown outcome, its write may take effect later.
        """
        if error.status == HTTPStatus.PAYMENT_REQUIRED:
            return
        if error.status == HTTPStatus.FORBIDDEN and principal.tenant in self._invariants.erased_tenants:
            return
        if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise error
        if all(request.input["width"] <= MAX_WIDTH for request in requests):
            self._invariants.report("valid inputs are accepted", f"{self._name}: {error.detail}")
        if is_first:
            self._invariants.refused_callers.add(self._name)

    def _create_batch(self, principal: Principal) -> None:
        requests = [self._build_request(principal.tenant) for _ in range(self._random.randint(2, 4))]
        key = self._name
        for attempt in range(_MAX_CREATE_ATTEMPTS):
            try:
                state = self._world.call_api(lambda ingest: ingest.create_batch(requests, principal, key))
            except ServiceUnavailableError as error:
                self._note_refusal(error, is_first=attempt == 0)
                self._world.scheduler.sleep(self._random.uniform(0.5, 2.0) * 2**attempt)
                continue
            except ApiError as error:
                self._expect_refusal(error, requests, principal, is_first=attempt == 0)
                return
            self._invariants.paused_callers.discard(self._name)
            for job in state.jobs:
                self._invariants.accept(job)
            if self._random.random() < 0.2:
                self._cancel_batch(principal.tenant, state.batch.id, state.jobs)
            return

    def _cancel_batch(self, tenant: str, batch_id: str, jobs: Any) -> None:
        for job in jobs:
            self._invariants.canceled_by_caller.add((tenant, job.id))
        try:
            self._world.call_api(lambda ingest: ingest.batches.cancel(ingest.batches.get(tenant, batch_id)))
        except (ServiceUnavailableError, ApiError):
            return

    def _cancel(self, job: Job) -> None:
        self._invariants.canceled_by_caller.add((job.tenant, job.id))
        for attempt in range(3):
            try:
                self._world.call_api(lambda ingest: ingest.canceler.cancel_job(job.tenant, job.id))
            except ServiceUnavailableError:
                self._world.scheduler.sleep(1.0 + attempt)
                continue
            return

    def _watch(self, job: Job) -> None:
        """Read the prediction a few times, as a client polls; a final view must stay what it is."""
        final: dict[str, Any] | None = None
        for delay in (1.0, 10.0, 120.0, 4000.0):
            self._world.scheduler.sleep(delay * self._random.uniform(0.5, 1.5))
            try:
                view = self._read(job)
            except (ProxyError, ProcessEndedError):
                continue
            if (job.tenant, job.id) in self._invariants.harvested_again:
                # Its output and files change when the files are stored.
                view, final = _leave_files_out(view), final and _leave_files_out(final)
            if final is not None and view != final:
                self._invariants.report("a final job never changes", f"{job.id}: {final} became {view}")
            if view["status"] in {"succeeded", "failed", "canceled"}:
                final = view

    def _read(self, job: Job) -> dict[str, Any]:
        components = self._world.components

        def read() -> dict[str, Any]:
            current = components.jobs.get(job.tenant, job.id)
            if current is None:
                if (job.tenant, job.id) not in self._world.truth.deleted_jobs:
                    self._invariants.report("accepted is never lost", f"{job.id} is not found")
                raise NotFoundError("no such job")
            load = components.documents.load
            return build_prediction_view(
                current,
                input=load(current.input),
                output=load(current.output),
                logs=load(current.logs),
                files=load(current.files),
            )

        return self._world.call_function("query", read)

    @property
    def _random(self) -> random.Random:
        actor = self._world.scheduler.actor
        return actor.random

    @property
    def _name(self) -> str:
        actor = self._world.scheduler.actor
        return actor.name


def _leave_files_out(view: dict[str, Any]) -> dict[str, Any]:
    return {**view, "output": None, "proxy": {**view["proxy"], "files": None}}


def build_hook_url(tenant: str) -> str:
    return f"https://{tenant}.test/hook"
