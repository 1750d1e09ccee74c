"""The whole system in one process: the pipeline, AWS below it, Replicate and the applications around it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from replicate_proxy.audit import model as audit_model
from replicate_proxy.audit.actor import acting_as
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ApiError, NotFoundError, ProxyError, RetryableError
from replicate_proxy.replicate_api.rate_limit import RateLimit
from tools.simulation.application import Applications
from tools.simulation.aws import InMemoryAws
from tools.simulation.aws_anomalies import AwsAnomalies
from tools.simulation.event_sources import EventSources
from tools.simulation.functions.components import Components, Features
from tools.simulation.functions.ingest import build_ingest
from tools.simulation.functions.reports import build_webhook
from tools.simulation.functions.sweep import build_sweep
from tools.simulation.ground_truth import GroundTruth
from tools.simulation.handlers import Handlers
from tools.simulation.lambda_service import EnvironmentPool, FailedReceive
from tools.simulation.observation import Queues, has_due_entry
from tools.simulation.replicate import SimulatedReplicate
from tools.simulation.resources import STACK, Queue, Table
from tools.simulation.scheduler import ProcessEndedError, Scheduler
from tools.simulation.sweep_schedule import SweepSchedule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler
    from tools.simulation.aws import Call
    from tools.simulation.faults import FaultPlan
    from tools.simulation.functions.ingest import Ingest
    from tools.simulation.scheduler import Actor
    from tools.simulation.trace import Trace

_API_TIMEOUT_SECONDS = 29.0
_WEBHOOK_TIMEOUT_SECONDS = 10.0
_MAX_REQUESTS = 4


class ServiceUnavailableError(Exception):
    """A request to the API ended with a 5xx or without a response. `is_known`: it was a 503 of our own.

    `is_refused`: an operator has paused the tenant.
    """

    def __init__(self, message: str, *, is_known: bool, is_refused: bool = False) -> None:
        super().__init__(message)
        self.is_known = is_known
        self.is_refused = is_refused


class NoAnswerError(Exception):
    """No repetition of a request was answered."""


class World:
    """One run's world. `observers` learn about checkpoints; invariants register there and on the services."""

    def __init__(
        self,
        scheduler: Scheduler,
        plan: FaultPlan,
        trace: Trace,
        *,
        counts_usage: bool = True,
        features: Features | None = None,
    ) -> None:
        self.features = features or Features()
        self.scheduler = scheduler
        self.plan = plan
        self.trace = trace
        self.metrics: Counter[str] = Counter()
        self.checkpoints: Counter[str] = Counter()
        self.on_checkpoint: list[Callable[[Actor, str], None]] = []
        self.on_failed_receive: list[Callable[[FailedReceive], None]] = []
        # Each says whether there is work left that the state does not show.
        self.work_left: list[Callable[[], bool]] = []
        # What callers have read page by page
        self.reads: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        anomalies = AwsAnomalies(scheduler, plan)
        self.aws = self._build_aws(anomalies)
        self.queues = Queues(self.aws)
        self.replicate = SimulatedReplicate(scheduler, plan)
        self.applications = Applications(scheduler, plan)
        self.components = self._build_components()
        self.clock = self.components.clock
        self._webhook_pool = self._build_pool(build_webhook)
        self._ingest_pool = self._build_pool(build_ingest)
        self.truth = GroundTruth(self.aws)
        self._connect_outside()
        handlers = Handlers(scheduler, self.clock)
        self.event_sources = EventSources(
            self.components,
            anomalies,
            self.queues,
            handlers=handlers,
            build_pool=self._build_pool,
            on_failed_receive=self._report_failed_receive,
            counts_usage=counts_usage,
        )
        self.sweep_schedule = SweepSchedule(
            self.components, pool=self._build_pool(build_sweep), handle=handlers.sweep
        )

    def _build_aws(self, anomalies: AwsAnomalies) -> InMemoryAws:
        aws = InMemoryAws.from_template(lambda: self.scheduler.now, stack_name=STACK, choices=anomalies)
        aws.gate = self._pass_gate
        aws.events.on_pending = self._deliver_events_at
        aws.events.is_refused = lambda _: self.plan.is_out("sqs")
        return aws

    def _build_components(self) -> Components:
        return Components(
            aws=self.aws,
            scheduler=self.scheduler,
            replicate=self.replicate,
            plan=self.plan,
            sender=self.applications,
            checkpoint=self._pass_checkpoint,
            rate_limit=RateLimit(self.plan.creates_per_minute, self.plan.creates_burst),
            features=self.features,
        )

    def _connect_outside(self) -> None:
        """Connect what is outside of the proxy, and what the checks know about it."""
        self.replicate.find_job = _find_submitted_job
        self.replicate.receive_webhook = self._receive_webhook
        self.applications.find_secrets = self.truth.find_signing_secrets
        self.applications.is_redelivery = self.truth.is_redelivery

    def _build_pool(self, build: Callable[[Components], Any]) -> EnvironmentPool:
        return EnvironmentPool(partial(build, self.components), reuses=self.plan.reuses_environments)

    def _pass_gate(self, call: Call, perform: Callable[[], Any]) -> Any:
        if call.service != "sqs" or not call.is_write:
            return self.plan.pass_gate(call, perform)
        try:
            return self.plan.pass_gate(call, perform)
        finally:
            self.event_sources.poll_soon()

    def _deliver_events_at(self, when: float) -> None:
        self.scheduler.call_at(when, self._deliver_events)

    def _deliver_events(self) -> None:
        self.aws.events.deliver_due()
        self.event_sources.poll_soon()

    def _report_failed_receive(self, failed: FailedReceive) -> None:
        for observer in self.on_failed_receive:
            observer(failed)

    def call_api[T](self, function: Callable[[Ingest], T]) -> T:
        """Call the ingest function from the current actor.

        Raises ServiceUnavailableError for a 5xx, and ApiError for a 4xx.
        """
        environment = self._ingest_pool.take()
        self._calls["ingest"] += 1
        is_crashed = False
        try:
            return self.scheduler.call_process(
                f"ingest-{self._calls['ingest']}",
                lambda: function(environment),
                timeout_seconds=_API_TIMEOUT_SECONDS,
            )
        except ProcessEndedError as error:
            is_crashed = True
            raise ServiceUnavailableError("no response", is_known=False) from error
        except ApiError as error:
            if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
                raise ServiceUnavailableError(error.detail, is_known=True, is_refused=True) from error
            raise
        except ProxyError as error:
            raise ServiceUnavailableError(str(error), is_known=isinstance(error, RetryableError)) from error
        finally:
            self._ingest_pool.give_back(environment, is_crashed=is_crashed)

    def call_function[T](self, name: str, function: Callable[[], T]) -> T:
        """Run something as a request of its own: an operator's or an owner's call."""
        self._calls[name] += 1
        return self.scheduler.call_process(
            f"{name}-{self._calls[name]}", function, timeout_seconds=_API_TIMEOUT_SECONDS
        )

    def call_admin[T](self, function: Callable[[], T]) -> T:
        """Run something as a request of the operator that the current actor is."""
        operator = audit_model.Actor(key_id=self.scheduler.actor.name)

        def act() -> T:
            with acting_as(operator):
                return function()

        return self.call_function("admin", act)

    def repeat[T](
        self, request: Callable[[], T], *, answers: tuple[type[ProxyError], ...] = (ApiError, NotFoundError)
    ) -> T:
        """Make a request, and repeat it as long as there is no answer.

        Raises the errors that are answers as well, and NoAnswerError.
        """
        for attempt in range(_MAX_REQUESTS):
            try:
                return request()
            except answers:
                raise
            except (ProxyError, ProcessEndedError):
                self.scheduler.sleep(1.0 + attempt)
        raise NoAnswerError

    def _receive_webhook(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        handler: ReplicateWebhookHandler = self._webhook_pool.take()
        self._calls["webhook"] += 1
        is_crashed = False
        status = 200
        try:
            self.scheduler.call_process(
                f"webhook-call-{self._calls['webhook']}",
                lambda: handler.handle_webhook(headers, query, body),
                timeout_seconds=_WEBHOOK_TIMEOUT_SECONDS,
            )
        except ProcessEndedError:
            is_crashed = True
            status = 502
        except ApiError as error:
            status = error.status
        except ProxyError:
            status = 503
        self._webhook_pool.give_back(handler, is_crashed=is_crashed)
        return status

    def is_at_rest(self) -> bool:
        """Return whether no work is left: no job or delivery to check, no message, no stream record."""
        # Ended jobs are in the index by the end of their retention.
        before_retention_ends = self.clock.now() + timedelta(days=self.components.timeouts.retention_days / 2)
        return (
            not has_due_entry(self.aws, Table.JOBS, "by_due", before=format_timestamp(before_retention_ends))
            and not has_due_entry(self.aws, Table.DELIVERIES, "by_due", before="9")
            and not self.sweep_schedule.has_due_batch(before_retention_ends)
            and not self.sweep_schedule.has_line()
            and not self.sweep_schedule.has_operation()
            and not any(self.queues.count(queue) for queue in Queue)
            and not any(source.has_backlog for source in self.event_sources.streams)
            and not any(is_left() for is_left in self.work_left)
        )

    def _pass_checkpoint(self, name: str) -> None:
        self.checkpoints[name] += 1
        actor = self.scheduler.current
        if actor is not None:
            for observer in self.on_checkpoint:
                observer(actor, name)


def _find_submitted_job(actor: Actor, _body: Mapping[str, Any]) -> tuple[str, str]:
    job: tuple[str, str] = actor.process.notes["job"]
    return job
