"""One run of the chaos test, on a stack of its own: inject faults, submit the workload, audit, report."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
from botocore.exceptions import BotoCoreError, ClientError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from proxyctl.client import AdminClient
from proxyctl.redrive import Redriver
from replicate_proxy.jobs.model import Job, TimelineStep
from tools.chaos.application import Application, UnreliableReceiver, open_unreliable_receiver
from tools.chaos.audit import ObservedStatuses, audit_jobs, list_not_notified, read_jobs
from tools.chaos.background import MessageDuplicator, invoke_sweep, run_repeatedly
from tools.chaos.crashes import CrashInjector, count_required_crashes, count_wanted_crashes
from tools.chaos.faults import DUPLICATED_MESSAGES_SHARE, build_upstream_faults
from tools.chaos.report import Report, print_violations
from tools.chaos.tuning import PARAMETERS, apply_tuning
from tools.chaos.workload import MODEL_ENTRIES, JobKind, PlannedJob, group_into_requests, plan_jobs
from tools.local.errors import LocalError
from tools.local.lifecycle import restart_emulator, stop_stack, temporary_stack
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack
from tools.local.status import count_messages
from tools.simulator.client import SimulatorClient

_SUBMITTING_THREADS = 6
_CANCELING_THREADS = 30
_MAX_JOBS_IN_PROGRESS = 150  # with more, jobs would wait in the queue longer than the sweep's timeout
_POLL_SECONDS = 1.5
_SWEEP_INTERVAL_SECONDS = 2.0
_DUPLICATE_INTERVAL_SECONDS = 0.5
_STALL_TIMEOUT_SECONDS = 240.0
_MAX_REDRIVE_ROUNDS = 8
_REDRIVE_MESSAGES_PER_SECOND = 50.0
_EMPTY_QUEUES_TIMEOUT_SECONDS = 90.0
_WEBHOOKS_TIMEOUT_SECONDS = 90.0
# When the local AWS stops, it loses what notify has not read of the stream: up to that much.
_MAX_STREAM_LAG = timedelta(seconds=60)


@dataclass(frozen=True)
class RunOptions:
    """The options of the command. No more crashes are injected once `stop_crashes_at_share` has finished."""

    job_count: int
    seed: int
    keep_running: bool
    report_file: Path
    stop_crashes_at_share: float = 1.0


def run_chaos(folder: StackFolder, options: RunOptions, screen: Screen) -> Report:
    """Run the test, and write, print and return the report. Raises LocalError if the run itself fails."""
    stop_stack(folder, screen)
    with temporary_stack(folder, screen, PARAMETERS, keep_running=options.keep_running) as stack:
        apply_tuning(stack)
        _put_model_entries(stack)
        try:
            secret = _fetch_webhook_secret(stack)
            with open_unreliable_receiver(secret, options.seed) as receiver:
                report = _ChaosRun(folder, options, screen, stack, receiver).run()
        finally:
            folder.faults_file.unlink(missing_ok=True)
    report.write(options.report_file)
    report.print(screen)
    return report


def _fetch_webhook_secret(stack: Stack) -> str:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    url = f"{stack.api_url}/v1/webhooks/default/secret"
    response = requests.get(url, headers=headers, timeout=60)
    if not response.ok:
        raise LocalError(f"cannot read the webhook secret: {response.status_code} {response.text[:300]}")
    return str(response.json()["key"])


def _put_model_entries(stack: Stack) -> None:
    admin = AdminClient(stack.api_url, stack.admin_key)
    for name, entry in MODEL_ENTRIES.items():
        admin.call("PUT", f"/admin/models/{name}", entry)


@dataclass
class _JobMonitor:
    """The stored jobs as of the last refresh. They stay unchanged while the emulator is down."""

    stack: Stack
    observed: ObservedStatuses = field(default_factory=ObservedStatuses)
    jobs: dict[str, Job] = field(default_factory=dict)

    def refresh(self) -> None:
        try:
            self.jobs = {job.id: job for job in read_jobs(self.stack)}
        except (BotoCoreError, ClientError):
            return
        self.observed.add_jobs(self.jobs.values())

    def count_finished(self) -> int:
        return sum(job.is_terminal for job in self.jobs.values())


class _ChaosRun:
    """The parts of a run, and its sequence."""

    def __init__(
        self,
        folder: StackFolder,
        options: RunOptions,
        screen: Screen,
        stack: Stack,
        receiver: UnreliableReceiver,
    ) -> None:
        self._folder = folder
        self._options = options
        self._screen = screen
        self._stack = stack
        self._receiver = receiver
        self._planned_jobs = plan_jobs(options.job_count, options.seed)
        self._simulator = SimulatorClient(url=stack.simulator_url)
        self._application = Application(stack, receiver.url, options.seed)
        self._monitor = _JobMonitor(stack)
        self._duplicator = MessageDuplicator(stack, options.seed)
        self._free_slots = threading.Semaphore(_MAX_JOBS_IN_PROGRESS)
        wanted_crashes = count_wanted_crashes(options.job_count)
        log_file = folder.path / "faults.jsonl"
        self._crashes = CrashInjector(
            folder.faults_file, log_file, wanted_crashes, options.stop_crashes_at_share
        )
        self._upstream_faults = build_upstream_faults(options.job_count)
        self._upstream_fault_counts: Counter[str] = Counter()
        self._restarts: list[tuple[datetime, datetime]] = []

    def run(self) -> Report:
        started_at = time.monotonic()
        self._start_faults()
        self._run_workload()
        self._stop_faults()
        redriven, left = self._redrive_dead_letters()
        self._monitor.refresh()
        self._wait_for_webhooks()
        self._monitor.observed.add_statuses(self._receiver.collect_statuses())
        return self._build_report(time.monotonic() - started_at, redriven, left)

    def _start_faults(self) -> None:
        self._simulator.reset()
        self._simulator.change_settings(webhook_retry_scale=0.3)
        rules = [fault.rule for fault in self._upstream_faults]
        self._simulator.call_control_api("POST", "faults", {"rules": rules})
        self._crashes.start()

    def _stop_faults(self) -> None:
        self._crashes.stop()
        rules = self._simulator.call_control_api("GET", "faults")["rules"]
        for fault, rule in zip(self._upstream_faults, rules, strict=True):
            self._upstream_fault_counts[fault.name] = rule["fired"]
        self._simulator.call_control_api("DELETE", "faults")

    def _run_workload(self) -> None:
        """Submit every job and wait until all are finished, with sweeps and duplicated messages meanwhile."""
        with ExitStack() as background:
            background.enter_context(
                run_repeatedly(lambda: invoke_sweep(self._stack), interval_seconds=_SWEEP_INTERVAL_SECONDS)
            )
            background.enter_context(
                run_repeatedly(self._duplicate_message, interval_seconds=_DUPLICATE_INTERVAL_SECONDS)
            )
            progress = background.enter_context(self._create_progress())
            cancelers = background.enter_context(ThreadPoolExecutor(_CANCELING_THREADS))
            submitters = background.enter_context(ThreadPoolExecutor(_SUBMITTING_THREADS))
            submissions = [
                submitters.submit(self._submit, jobs, cancelers)
                for jobs in group_into_requests(self._planned_jobs)
            ]
            self._follow_jobs(progress)
            for submission in submissions:
                submission.result()

    def _submit(self, jobs: Sequence[PlannedJob], cancelers: ThreadPoolExecutor) -> None:
        for _ in jobs:
            self._free_slots.acquire()
        self._application.submit(jobs)
        for job in jobs:
            if job.kind is JobKind.CANCELED:
                cancelers.submit(self._application.cancel, job)

    def _duplicate_message(self) -> None:
        max_messages = DUPLICATED_MESSAGES_SHARE * self._options.job_count
        if sum(self._duplicator.sent.values()) < max_messages:
            self._duplicator.duplicate_message(list(self._application.accepted.values()))

    def _follow_jobs(self, progress: Progress) -> None:
        """Wait until every job is finished, or none finishes any more.

        Meanwhile, free slots for more jobs, adjust the crash rates, and restart the emulator once halfway.
        """
        total, last_change_at, finished = self._options.job_count, time.monotonic(), 0
        accepted_bar = progress.add_task("accepted", total=total)
        finished_bar = progress.add_task("finished", total=total)
        while finished < total:
            time.sleep(_POLL_SECONDS)
            self._monitor.refresh()
            now_finished = self._monitor.count_finished()
            if now_finished > finished:
                self._free_slots.release(now_finished - finished)
                last_change_at, finished = time.monotonic(), now_finished
            accepted = len(self._application.accepted)
            progress.update(accepted_bar, completed=accepted)
            progress.update(finished_bar, completed=finished)
            self._crashes.adjust_rates(accepted_share=accepted / total, finished_share=finished / total)
            if not self._restarts and finished >= total // 2:
                stopped_at = datetime.now(UTC)
                restart_emulator(self._folder)
                self._restarts.append((stopped_at, datetime.now(UTC)))
            if time.monotonic() - last_change_at > _STALL_TIMEOUT_SECONDS:
                break
        self._free_slots.release(total)

    def _redrive_dead_letters(self) -> tuple[int, int]:
        """Redrive until no dead letters are left. Return how many were redriven, and how many are left."""
        redriver = Redriver(AdminClient(self._stack.api_url, self._stack.admin_key))
        redriven = 0
        for _ in range(_MAX_REDRIVE_ROUNDS):
            with self._screen.step("redriving dead letters") as done:
                results = redriver.redrive_all(rate_per_second=_REDRIVE_MESSAGES_PER_SECOND)
                redriven_by_queue = {queue: result.handled for queue, result in results.items()}
                redriven += sum(redriven_by_queue.values())
                done(f"redriven {redriven_by_queue or 'nothing'}")
            self._wait_for_empty_queues()
            if not sum(redriver.count_messages().values()):
                break
        return redriven, sum(redriver.count_messages().values())

    def _wait_for_empty_queues(self) -> None:
        sqs = self._stack.get_client("sqs")
        urls = [
            url
            for name, url in self._stack.outputs.items()
            if name.endswith("QueueUrl") and "DeadLetter" not in name
        ]
        deadline = time.monotonic() + _EMPTY_QUEUES_TIMEOUT_SECONDS
        while time.monotonic() < deadline and any(sum(count_messages(sqs, url)) for url in urls):
            time.sleep(1)

    def _wait_for_webhooks(self) -> None:
        deadline = time.monotonic() + _WEBHOOKS_TIMEOUT_SECONDS
        while self._find_not_notified()[0] and time.monotonic() < deadline:
            time.sleep(1)

    def _find_not_notified(self) -> tuple[list[str], list[str]]:
        """Return the IDs of jobs without a webhook, and those whose change a restart may have lost."""
        jobs = list_not_notified(self._application, self._planned_jobs, self._monitor.jobs, self._receiver)
        lost = {job.id for job in jobs if self._is_near_restart(job.timeline.get(TimelineStep.FINISHED))}
        return [job.id for job in jobs if job.id not in lost], sorted(lost)

    def _is_near_restart(self, at: datetime | None) -> bool:
        return at is not None and any(start - _MAX_STREAM_LAG <= at <= end for start, end in self._restarts)

    def _build_report(self, seconds: float, redriven: int, left: int) -> Report:
        result = audit_jobs(
            self._application,
            self._planned_jobs,
            self._monitor.jobs,
            self._monitor.observed,
            self._simulator,
        )
        not_notified, lost_in_restart = self._find_not_notified()
        print_violations(
            self._screen,
            {
                "lost": result.lost,
                "paid twice": result.paid_twice,
                "not terminal": result.not_terminal,
                "conflicting final states": result.conflicting,
                "wrong costs": result.money.wrong,
                "application not notified": not_notified,
            },
        )
        crashes = self._crashes.count_crashes()
        return Report(
            seed=self._options.seed,
            accepted=result.accepted,
            lost=len(result.lost),
            paid_twice=len(result.paid_twice),
            not_terminal=len(result.not_terminal),
            conflicting_final_states=len(result.conflicting),
            dead_letters_after_redrive=left,
            faults=self._count_faults(),
            crashes_by_checkpoint={name: crashes[name] for name in self._crashes.rates},
            seconds=round(seconds, 1),
            jobs=self._options.job_count,
            retries=result.retries,
            redriven_messages=redriven,
            required_crashes_per_checkpoint=count_required_crashes(self._options.job_count),
            final_statuses=dict(result.final_statuses),
            outputs_not_stored=result.outputs_not_stored,
            webhooks_not_delivered=len(not_notified),
            webhooks_lost_in_restart=len(lost_in_restart),
            wrong_costs=len(result.money.wrong),
            billed_micro_usd=result.money.billed,
            cost_micro_usd=result.money.costs,
            estimated_costs=result.money.estimates,
            unknown_costs=result.money.unknown,
        )

    def _count_faults(self) -> dict[str, int]:
        counts = Counter(self._upstream_fault_counts)
        counts.update(self._crashes.count_aws_faults())
        counts.update(self._duplicator.sent)
        counts["application responded 503"] = self._receiver.rejected_count
        counts["emulator restarted"] = len(self._restarts)
        counts["crash"] = sum(self._crashes.count_crashes().values())
        return dict(counts)

    def _create_progress(self) -> Progress:
        columns = (
            TextColumn("{task.description:>14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        return Progress(*columns, console=self._screen.console)
