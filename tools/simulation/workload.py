"""Who uses the system in a run: callers, owners of webhook endpoints, operators, and outages.

Callers share few inputs and few tenants, so that predictions look alike: most guarantees are easy to keep
while every request is unique.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.principal import Principal
from replicate_proxy.contracts.predictions import build_prediction_view
from replicate_proxy.errors import ApiError, ConflictError, NotFoundError, ProxyError
from replicate_proxy.jobs.model import Submission, SubmissionKind
from replicate_proxy.model_entries.entry import FallbackTarget, ModelEntry
from replicate_proxy.services.ingest import JobRequest
from tools.simulation.budget_invariants import BUDGETED_TENANT, BUDGETS
from tools.simulation.concurrency_invariants import (
    FIRST_TENANT_LIMIT,
    LIMITED_ENTRY,
    LIMITED_TENANT,
    RAISED_TENANT_LIMIT,
)
from tools.simulation.functions.deliveries import build_endpoints
from tools.simulation.functions.replicate_access import build_breaker
from tools.simulation.replicate import MAX_WIDTH, MISSING_MODEL
from tools.simulation.resources import STACK, Queue
from tools.simulation.scheduler import ProcessEndedError
from tools.simulation.world import ServiceUnavailableError

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from tools.simulation.concurrency_invariants import ConcurrencyInvariants
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
# Callers who come at the same time where a tenant has a budget.
_BURST = 24
_BURST_AT_ONCE = 12
_REPLICATE_OUTAGES = (("status_503",), ("hang",), ("status_503", "hang", "refused"))
_SHORTEST_RETENTION_SECONDS = 3600
_EVENT_FILTERS = (None, ("completed",), ("start", "completed"), ("start", "output", "logs", "completed"))


class Workload:
    """Starts the actors of one run: the callers come in the first third of its faults."""

    def __init__(
        self,
        world: World,
        invariants: Invariants,
        settings: RunSettings,
        *,
        has_budgets: bool = False,
        limits: ConcurrencyInvariants | None = None,
    ) -> None:
        self.world = world
        self._settings = settings
        self._invariants = invariants
        self._arrival_seconds = settings.fault_seconds / 3
        self._has_budgets = has_budgets
        self._limits = limits
        self.endpoints: dict[str, str] = {}

    def start(self, source: random.Random) -> None:
        """Schedule everybody."""
        world = self.world
        for tenant in TENANTS:
            world.applications.add_receiver(build_hook_url(tenant), source)
        for number in range(self._settings.jobs):
            world.scheduler.spawn(
                f"caller-{number}", self._run_caller, delay_seconds=source.uniform(0, self._arrival_seconds)
            )
        owners = [tenant for tenant in TENANTS if source.random() < 0.5]
        for tenant in owners:
            world.applications.add_receiver(_endpoint_url(tenant), source)
            world.scheduler.spawn(f"owner-{tenant}", partial(self._run_owner, tenant))
        if source.random() < 0.3:
            world.scheduler.spawn("operator", self._run_breaker_operator)
        world.scheduler.spawn("redriver", self._run_redriver)
        if self._has_budgets:
            world.scheduler.spawn("budgets", self._run_budget_operator)
            for number in range(_BURST):
                delay_seconds = self._arrival_seconds * (1 + number // _BURST_AT_ONCE) / 4
                world.scheduler.spawn(f"burst-{number}", self._run_caller, delay_seconds=delay_seconds)
        if self._limits is not None:
            world.scheduler.spawn("limits", partial(self._run_limit_operator, self._limits))
        if source.random() < 0.3:
            world.scheduler.spawn("outage", self._run_outage)

    # Callers

    def _run_caller(self) -> None:
        source = self._random
        tenant = source.choice(TENANTS)
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
            self.world.scheduler.sleep(source.expovariate(1 / 10))
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
        limited = LIMITED_ENTRY if self._limits is not None and self._draw_is_limited() else None
        if self._settings.fallback_share == 0:
            return limited
        source = random.Random(f"{self.world.scheduler.seed}/{self._name}/entry")
        return self._limit_queue_time(source) if source.random() < self._settings.fallback_share else limited

    def _limit_queue_time(self, source: random.Random) -> ModelEntry:
        """Return an entry with fallbacks, for some of the requests with a limit of the queue time."""
        entry = source.choice(_ENTRIES)
        if source.random() >= self._settings.queue_limit_share:
            return entry
        return replace(entry, fallback_after_seconds=source.choice(_QUEUE_LIMITS_SECONDS))

    def _draw_retention(self) -> int | None:
        share = self._settings.delete_share
        source = random.Random(f"{self.world.scheduler.seed}/{self._name}/retention")
        return _SHORTEST_RETENTION_SECONDS if share > 0 and source.random() < share else None

    def _draw_is_limited(self) -> bool:
        return random.Random(f"{self.world.scheduler.seed}/{self._name}/limited").random() < 0.5

    def _draw_width(self) -> dict[str, Any]:
        """Return a width for the input that may be too large, without a draw from the other numbers."""
        if self._settings.invalid_share == 0:
            return {}
        source = random.Random(f"{self.world.scheduler.seed}/{self._name}/width")
        return {"width": MAX_WIDTH + 1 if source.random() < self._settings.invalid_share else MAX_WIDTH}

    def _create(self, request: JobRequest, principal: Principal) -> Job | None:
        if request.idempotency_key is not None:
            self._invariants.keyed_callers.add(request.correlation_id)
        for attempt in range(_MAX_CREATE_ATTEMPTS):
            try:
                result = self.world.call_api(lambda ingest: ingest.create(request, principal))
            except ServiceUnavailableError:
                # Without a key, a request of unknown outcome is not repeated.
                if request.idempotency_key is None:
                    return None
                self.world.scheduler.sleep(self._random.uniform(0.5, 2.0) * 2**attempt)
                continue
            except ApiError as error:
                self._expect_refusal(error, [request], is_first=attempt == 0)
                return None
            self._accept(result.job)
            return result.job
        return None

    def _expect_refusal(self, error: ApiError, requests: list[JobRequest], *, is_first: bool) -> None:
        """Raise the error, unless a budget is spent or an input is invalid.

        Where an earlier attempt had an unknown outcome, its write may take effect later.
        """
        if error.status == HTTPStatus.PAYMENT_REQUIRED:
            return
        if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise error
        if all(request.input["width"] <= MAX_WIDTH for request in requests):
            self._invariants.report("valid inputs are accepted", f"{self._name}: {error.detail}")
        if is_first:
            self._invariants.refused_callers.add(self._name)

    def _accept(self, job: Job) -> None:
        self._invariants.accept(job)

    def _create_batch(self, principal: Principal) -> None:
        requests = [self._build_request(principal.tenant) for _ in range(self._random.randint(2, 4))]
        key = self._name
        for attempt in range(_MAX_CREATE_ATTEMPTS):
            try:
                state = self.world.call_api(lambda ingest: ingest.batches.create(requests, principal, key))
            except ServiceUnavailableError:
                self.world.scheduler.sleep(self._random.uniform(0.5, 2.0) * 2**attempt)
                continue
            except ApiError as error:
                self._expect_refusal(error, requests, is_first=attempt == 0)
                return
            for job in state.jobs:
                self._accept(job)
            if self._random.random() < 0.2:
                self._cancel_batch(principal.tenant, state.batch.id, state.jobs)
            return

    def _cancel_batch(self, tenant: str, batch_id: str, jobs: Any) -> None:
        for job in jobs:
            self._invariants.canceled_by_caller.add((tenant, job.id))
        try:
            self.world.call_api(lambda ingest: ingest.batches.cancel(ingest.batches.get(tenant, batch_id)))
        except (ServiceUnavailableError, ApiError):
            return

    def _cancel(self, job: Job) -> None:
        self._invariants.canceled_by_caller.add((job.tenant, job.id))
        for attempt in range(3):
            try:
                self.world.call_api(lambda ingest: ingest.canceler.cancel_job(job.tenant, job.id))
            except ServiceUnavailableError:
                self.world.scheduler.sleep(1.0 + attempt)
                continue
            return

    def _watch(self, job: Job) -> None:
        """Read the prediction a few times, as a client polls; a final view must stay what it is."""
        final: dict[str, Any] | None = None
        for delay in (1.0, 10.0, 120.0, 4000.0):
            self.world.scheduler.sleep(delay * self._random.uniform(0.5, 1.5))
            try:
                view = self._read(job)
            except (ProxyError, ProcessEndedError):
                continue
            if final is not None and view != final:
                self._invariants.report("a final job never changes", f"{job.id}: {final} became {view}")
            if view["status"] in {"succeeded", "failed", "canceled"}:
                final = view

    def _read(self, job: Job) -> dict[str, Any]:
        components = self.world.components

        def read() -> dict[str, Any]:
            current = components.jobs.get(job.tenant, job.id)
            if current is None:
                if (job.tenant, job.id) not in self.world.truth.deleted_jobs:
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

        return self.world.call_function("query", read)

    # Owners of webhook endpoints

    def _run_owner(self, tenant: str) -> None:
        source = self._random
        endpoints = build_endpoints(self.world.components)
        try:
            endpoint = self.world.call_function(
                "endpoints", lambda: endpoints.service.create(tenant, url=_endpoint_url(tenant))
            )
        except (ProxyError, ProcessEndedError):
            return
        self._invariants.endpoints[tenant, endpoint.id] = True
        self.endpoints[tenant] = endpoint.id
        for _ in range(source.randint(0, 4)):
            self.world.scheduler.sleep(source.expovariate(1 / 300))
            self._act_on_endpoint(tenant, endpoint.id)
        if source.random() < 0.5:
            self._toggle_endpoint(tenant, endpoint.id)
        # Whatever disabled it, the owner enables it at the end and asks for what was missed.
        self.world.scheduler.sleep(max(0.0, self.world.plan.quiet_from + 60 - self.world.scheduler.now))
        self._enable(tenant, endpoint.id)

    def _toggle_endpoint(self, tenant: str, endpoint_id: str) -> None:
        """Disable and enable the endpoint again and again, while deliveries to it are made."""
        service = build_endpoints(self.world.components).service
        for _ in range(30):
            try:
                self.world.call_function(
                    "endpoints", lambda: service.update(tenant, endpoint_id, enabled=False)
                )
            except (ProxyError, ProcessEndedError):
                continue
            self.world.scheduler.sleep(self._random.expovariate(1 / 10))
            self._enable(tenant, endpoint_id)
            self.world.scheduler.sleep(self._random.expovariate(1 / 20))

    def _act_on_endpoint(self, tenant: str, endpoint_id: str) -> None:
        action = self._random.choice(("disable", "enable", "rotate", "rotate_default", "redeliver"))
        endpoints = build_endpoints(self.world.components)
        service = endpoints.service

        def act() -> None:
            if action == "disable":
                service.update(tenant, endpoint_id, enabled=False)
            elif action == "rotate":
                service.rotate_secret(tenant, endpoint_id, timedelta(hours=1))
            elif action == "rotate_default":
                service.rotate_default_secret(tenant, timedelta(hours=1))
            elif action == "redeliver":
                since = self.world.clock.now() - timedelta(hours=1)
                endpoints.redelivery.redeliver_all_failed(tenant, since)

        try:
            if action == "enable":
                self._enable(tenant, endpoint_id)
            else:
                self.world.call_function("endpoints", act)
        except (ProxyError, ConflictError, ProcessEndedError):
            return

    def _enable(self, tenant: str, endpoint_id: str) -> None:
        """Enable as the route does: then what was missed is sent."""
        endpoints = build_endpoints(self.world.components)

        def enable() -> None:
            before = endpoints.service.get(tenant, endpoint_id)
            enabled = endpoints.service.enable(tenant, endpoint_id)
            if before.missed_since is not None:
                endpoints.redelivery.redeliver_missed(enabled, before.missed_since)

        for _ in range(5):
            try:
                self.world.call_function("endpoints", enable)
            except (ProxyError, ProcessEndedError):
                self.world.scheduler.sleep(5.0)
                continue
            return

    # Operators

    def _run_budget_operator(self) -> None:
        """Set the budgets. Until then there are none."""
        for owner, limits in BUDGETS.items():
            while True:
                try:
                    self.world.call_function(
                        "admin", partial(self.world.components.budgets.put_limits, owner, limits)
                    )
                except (ProxyError, ProcessEndedError):
                    self.world.scheduler.sleep(1.0)
                    continue
                break

    def _run_limit_operator(self, limits: ConcurrencyInvariants) -> None:
        """Set a limit for a tenant, and raise it while jobs wait for it."""
        for number in (FIRST_TENANT_LIMIT, RAISED_TENANT_LIMIT):
            limits.expect_tenant_limit(number)
            while True:
                put = partial(self.world.components.tenant_limits.put, LIMITED_TENANT, number)
                try:
                    self.world.call_function("admin", put)
                except (ProxyError, ProcessEndedError):
                    self.world.scheduler.sleep(1.0)
                    continue
                break
            limits.confirm_tenant_limit()
            self.world.scheduler.sleep(self._arrival_seconds)

    def _run_breaker_operator(self) -> None:
        breaker = build_breaker(self.world.components)
        for _ in range(self._random.randint(1, 3)):
            self.world.scheduler.sleep(self._random.expovariate(1 / 400))
            action = self._random.choice((breaker.trip, breaker.reset))
            try:
                self.world.call_function("admin", action)
            except (ProxyError, ProcessEndedError):
                continue

    def _run_redriver(self) -> None:
        """Redrive the dead letters now and then, and once more when faults have stopped."""
        world = self.world
        while world.scheduler.now < world.plan.quiet_from:
            world.scheduler.sleep(900)
            self._redrive()
        world.scheduler.sleep(1900)
        self._redrive()

    def _redrive(self) -> None:
        """Redrive every dead letter. One whose redrive fails is invisible for a while, so this ends."""
        queues = self.world.queues
        for queue in Queue:
            while messages := queues.receive(f"{queue}-dead-letters", 10, attributes=["MessageGroupId"]):
                for message in messages:
                    queues.send(queue, message["Body"], group=message["Attributes"].get("MessageGroupId"))
                    queues.delete(f"{queue}-dead-letters", message["ReceiptHandle"])
        self.world.event_sources.poll_soon()
        stream_queue = f"{STACK}-notify-stream-dead-letters"
        while messages := queues.receive(stream_queue, 10):
            for message in messages:
                try:
                    self.world.call_function(
                        "replay",
                        partial(self.world.event_sources.replay_stream_batch, json.loads(message["Body"])),
                    )
                except (ProxyError, ProcessEndedError):
                    continue
                queues.delete(stream_queue, message["ReceiptHandle"])

    def _run_outage(self) -> None:
        """Put one dependency out of order for seconds to hours."""
        source = self._random
        self.world.scheduler.sleep(source.uniform(0, self._arrival_seconds))
        dependency = source.choice(("replicate", "dynamodb", "sqs", "events", "s3"))
        seconds = source.choice((20.0, 300.0, 1800.0, 4500.0))
        self.world.plan.outages[dependency] = self.world.scheduler.now + seconds
        self.world.plan.replicate_outage_faults = source.choice(_REPLICATE_OUTAGES)

    @property
    def _random(self) -> random.Random:
        actor = self.world.scheduler.actor
        return actor.random

    @property
    def _name(self) -> str:
        actor = self.world.scheduler.actor
        return actor.name


def build_hook_url(tenant: str) -> str:
    return f"https://{tenant}.test/hook"


def _endpoint_url(tenant: str) -> str:
    return f"https://{tenant}.test/endpoint"
