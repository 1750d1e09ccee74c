"""One run: a stack of its own, everything goes wrong, nothing may be lost."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import requests
from botocore.exceptions import BotoCoreError, ClientError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from replicate_proxy.jobs.model import Job
from tools.chaos import mix, pressure, tuning
from tools.chaos.application import Application, UnreliableInbox, receiving
from tools.chaos.audit import Sightings, audit, jobs_of
from tools.chaos.crashes import Crashes
from tools.chaos.orders import Kind, Order, orders, parcels
from tools.chaos.report import Report, offenders
from tools.cli.admin_client import AdminClient
from tools.cli.redrive import Redriver
from tools.local.errors import LocalError
from tools.local.lifecycle import restart_emulator, stop_stack, temporary_stack
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack
from tools.local.status import count_messages
from tools.simulator.client import SimulatorClient

_CLIENTS = 6
_CANCELERS = 30
_AT_ONCE = 150  # jobs under way: the queue must not outgrow the patience of the sweep
_LOOK_SECONDS = 1.5
_SWEEP_PAUSE_SECONDS = 2.0
_DUPLICATE_PAUSE_SECONDS = 0.5
_STALL_SECONDS = 240.0
_REDRIVE_ROUNDS = 8
_REDRIVE_RATE = 50.0
_QUIET_SECONDS = 90.0
_JOBS_A_CRASH = 50  # 1,000 jobs: each boundary is hit at least 20 times


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    jobs: int
    seed: int
    keep: bool
    report: Path
    relents_at: float = 1.0


@dataclass
class Watch:
    """What is known of the jobs, looked at again and again. An emulator that is away leaves it as it is."""

    stack: Stack
    sightings: Sightings = field(default_factory=Sightings)
    jobs: dict[str, Job] = field(default_factory=dict)

    def look(self) -> None:
        try:
            self.jobs = {job.id: job for job in jobs_of(self.stack)}
        except (BotoCoreError, ClientError):
            return
        self.sightings.note(self.jobs.values())

    @property
    def over(self) -> int:
        return sum(job.is_terminal for job in self.jobs.values())


def run(home: StackFolder, options: Options, screen: Screen) -> Report:
    """The report, written and shown. Raises LocalError where the run itself cannot go on."""
    stop_stack(home, screen)
    with temporary_stack(home, screen, tuning.PARAMETERS, keep_running=options.keep) as stack:
        tuning.tune(stack)
        try:
            with receiving(_signing_secret(stack), options.seed) as inbox:
                report = _Run(home, options, screen, stack, inbox).run()
        finally:
            home.faults_file.unlink(missing_ok=True)
    report.write(options.report)
    report.show(screen)
    return report


class _Run:
    """The parts of a run, and its course."""

    def __init__(
        self, home: StackFolder, options: Options, screen: Screen, stack: Stack, inbox: UnreliableInbox
    ) -> None:
        self._home = home
        self._options = options
        self._screen = screen
        self._stack = stack
        self._inbox = inbox
        self._placed = orders(options.jobs, options.seed)
        self._simulator = SimulatorClient(url=stack.simulator_url)
        self._application = Application(stack, inbox.url, options.seed)
        self._watch = Watch(stack)
        self._duplicator = pressure.Duplicator(stack, options.seed)
        self._room = threading.Semaphore(_AT_ONCE)
        wanted = -(-options.jobs // _JOBS_A_CRASH)
        log = home.path / "faults.jsonl"
        self._crashes = Crashes(home.faults_file, log, wanted, options.relents_at)
        self._restarts = 0
        self._faults_upstream = mix.upstream(options.jobs)
        self._upstream_counts: Counter[str] = Counter()

    def run(self) -> Report:
        started = time.monotonic()
        self._install()
        self._live_through_it()
        self._crashes.end()
        self._end_upstream_faults()
        redriven, left = self._redrive()
        self._watch.look()
        self._watch.sightings.told(self._inbox.statuses())
        return self._report(time.monotonic() - started, redriven, left)

    def _install(self) -> None:
        self._simulator.call_control_api("POST", "reset")
        self._simulator.change_settings(webhook_retry_scale=0.3)
        self._simulator.call_control_api(
            "POST", "faults", {"rules": [fault.rule for fault in self._faults_upstream]}
        )
        self._crashes.begin()

    def _end_upstream_faults(self) -> None:
        rules = self._simulator.call_control_api("GET", "faults")["rules"]
        for fault, rule in zip(self._faults_upstream, rules, strict=True):
            self._upstream_counts[fault.name] = rule["fired"]
        self._simulator.call_control_api("DELETE", "faults")

    def _live_through_it(self) -> None:
        with ExitStack() as beside:
            for _ in range(tuning.SWEEPS_AT_ONCE):
                beside.enter_context(
                    pressure.repeated(lambda: pressure.sweep(self._stack), pause=_SWEEP_PAUSE_SECONDS)
                )
            beside.enter_context(pressure.repeated(self._duplicate, pause=_DUPLICATE_PAUSE_SECONDS))
            progress = beside.enter_context(self._progress())
            cancelers = beside.enter_context(ThreadPoolExecutor(_CANCELERS))
            clients = beside.enter_context(ThreadPoolExecutor(_CLIENTS))
            submitted = [clients.submit(self._submit, one, cancelers) for one in parcels(self._placed)]
            self._follow(progress)
            for one in submitted:
                one.result()

    def _submit(self, parcel: Sequence[Order], cancelers: ThreadPoolExecutor) -> None:
        for _ in parcel:
            self._room.acquire()
        self._application.submit(parcel)
        for order in parcel:
            if order.kind is Kind.CANCELED:
                cancelers.submit(self._application.cancel, order)

    def _duplicate(self) -> None:
        if sum(self._duplicator.sent.values()) < mix.DUPLICATED_COMMANDS * self._options.jobs:
            self._duplicator.duplicate(list(self._application.accepted.values()))

    def _follow(self, progress: Progress) -> None:
        """Until every job is over. Makes room for the next, steers the crashes, restarts once halfway."""
        total, moved_at, over = self._options.jobs, time.monotonic(), 0
        accepted_bar = progress.add_task("accepted", total=total)
        over_bar = progress.add_task("at their end", total=total)
        while over < total:
            time.sleep(_LOOK_SECONDS)
            self._watch.look()
            now_over = self._watch.over
            if now_over > over:
                self._room.release(now_over - over)
                moved_at, over = time.monotonic(), now_over
            accepted = len(self._application.accepted)
            progress.update(accepted_bar, completed=accepted)
            progress.update(over_bar, completed=over)
            self._crashes.steer(accepted=accepted / total, over=over / total)
            if not self._restarts and over >= total // 2:
                restart_emulator(self._home)
                self._restarts += 1
            if time.monotonic() - moved_at > _STALL_SECONDS:
                break
        self._room.release(total)

    def _redrive(self) -> tuple[int, int]:
        """How many dead letters were sent back, and how many are there in the end."""
        letters, redriven = Redriver(AdminClient(self._stack.api_url, self._stack.admin_key)), 0
        for _ in range(_REDRIVE_ROUNDS):
            with self._screen.step("redriving dead letters") as done:
                handled = letters.redrive_all(rate_per_second=_REDRIVE_RATE)
                redriven += sum(handled.values())
                done(f"redriven {handled or 'nothing'}")
            self._settle()
            if not sum(letters.count_messages().values()):
                break
        return redriven, sum(letters.count_messages().values())

    def _settle(self) -> None:
        """Until the queues are empty."""
        sqs = self._stack.get_client("sqs")
        urls = [
            url
            for name, url in self._stack.outputs.items()
            if name.endswith("QueueUrl") and "DeadLetter" not in name
        ]
        ends = time.monotonic() + _QUIET_SECONDS
        while time.monotonic() < ends and any(sum(count_messages(sqs, url)) for url in urls):
            time.sleep(1)

    def _report(self, seconds: float, redriven: int, left: int) -> Report:
        watch = self._watch
        found = audit(
            self._application, self._placed, watch.jobs, watch.sightings, self._simulator, self._inbox
        )
        offenders(
            self._screen,
            {
                "lost": list(found.lost),
                "paid twice": list(found.paid_twice),
                "not terminal": list(found.not_terminal),
                "conflicting": list(found.conflicting),
                "application not told": list(found.untold),
            },
        )
        hits = self._crashes.hits()
        return Report(
            seed=self._options.seed,
            accepted=found.accepted,
            lost=len(found.lost),
            paid_twice=len(found.paid_twice),
            not_terminal=len(found.not_terminal),
            conflicting_final_states=len(found.conflicting),
            dlq_after_redrive=left,
            faults=self._faults(),
            crash_points={name: hits[name] for name in self._crashes.rates},
            seconds=round(seconds, 1),
            jobs=self._options.jobs,
            fresh_attempts=found.fresh_attempts,
            redriven=redriven,
            crashes_wanted_each=self._crashes.wanted,
            endings=dict(found.endings),
            outputs_left_at_replicate=found.left_outputs,
            webhooks_not_delivered=len(found.untold),
        )

    def _faults(self) -> dict[str, int]:
        counts = Counter(self._upstream_counts)
        counts.update(self._crashes.aws())
        counts.update(self._duplicator.sent)
        counts["application answered 503"] = self._inbox.failed
        counts["emulator restarted"] = self._restarts
        counts["crash"] = sum(self._crashes.hits().values())
        return dict(counts)

    def _progress(self) -> Progress:
        columns = (
            TextColumn("{task.description:>14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        return Progress(*columns, console=self._screen.console)


def _signing_secret(stack: Stack) -> str:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    answer = requests.get(f"{stack.api_url}/v1/webhooks/default/secret", headers=headers, timeout=60)
    if not answer.ok:
        raise LocalError(f"no webhook secret: {answer.status_code} {answer.text[:300]}")
    return str(answer.json()["key"])
