"""Background load of a run: additional sweeps, and messages that are delivered twice."""

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.queues import SqsCommandQueue, SqsHarvestQueue
from replicate_proxy.clock import SystemClock
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ProxyError
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.services.harvest import build_continuation_event
from tools.local.keys import DEMO_TENANT
from tools.local.leases import end_lease
from tools.local.stack import Stack


@contextmanager
def run_repeatedly(action: Callable[[], object], *, interval_seconds: float) -> Iterator[None]:
    """Call the action again and again in a thread for the duration of the block.

    AWS errors are ignored: the emulator may be down, or just restarted and not yet aware of its tables.
    """
    stopping = threading.Event()

    def run_until_stopped() -> None:
        while not stopping.is_set():
            with contextlib.suppress(BotoCoreError, ClientError, ProxyError):
                action()
            stopping.wait(interval_seconds)

    thread = threading.Thread(target=run_until_stopped)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def invoke_sweep(stack: Stack) -> None:
    """Run the sweep once, in addition to its schedule, and wait until it ends or crashes.

    A run has more than a hundred crashes of sweeps. If each of them kept its lease until its timeout, nothing
    would be swept for most of the run.
    """
    sweep = stack.function_names["sweep"]
    response = stack.get_client("lambda").invoke(FunctionName=sweep, Payload=b"{}")
    if "FunctionError" in response:
        end_lease(stack, "sweep")


class MessageDuplicator:
    """Sends messages a second time, as SQS may deliver them."""

    def __init__(self, stack: Stack, seed: int) -> None:
        sqs = stack.get_client("sqs")
        self._jobs = DynamoJobStore(stack.get_client("dynamodb"), stack.outputs["JobsTableName"])
        self._commands = SqsCommandQueue(sqs, stack.outputs["DispatchQueueUrl"])
        self._harvests = SqsHarvestQueue(sqs, stack.outputs["HarvestQueueUrl"])
        self._rng = random.Random(seed)  # noqa: S311 - must be reproducible, guards no secret
        self.sent: Counter[str] = Counter()

    def duplicate_message(self, job_ids: Sequence[str]) -> None:
        """Send the dispatch or harvest message of a random job, which may have had it already."""
        job = self._jobs.get(DEMO_TENANT, self._rng.choice(job_ids)) if job_ids else None
        if job is None:
            return
        if job.status in {JobStatus.HARVESTING, JobStatus.SUCCEEDED}:
            self._harvests.send(build_continuation_event(job, SystemClock().now()), tenant=job.tenant)
            self.sent["harvest message duplicated"] += 1
        else:
            self._commands.send(DispatchCommand.for_job(DispatchKind.SUBMIT, job))
            self.sent["dispatch message duplicated"] += 1
