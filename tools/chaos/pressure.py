"""What goes on beside the jobs: sweeps, and messages that come twice."""

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
from tools.local.stack import Stack


@contextmanager
def repeated(action: Callable[[], object], *, pause: float) -> Iterator[None]:
    """Runs the action again and again in a thread while the block lasts; an AWS that is away is no matter,
    nor is one that has just come back and does not know its tables yet.
    """
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            with contextlib.suppress(BotoCoreError, ClientError, ProxyError):
                action()
            over.wait(pause)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def sweep(stack: Stack) -> None:
    """One pass, to its end or its crash; the schedule's own passes come on top."""
    stack.get_client("lambda").invoke(FunctionName=stack.function_names["sweep"], Payload=b"{}")


class Duplicator:
    """Puts messages on their queue once more, as SQS may."""

    def __init__(self, stack: Stack, seed: int) -> None:
        sqs = stack.get_client("sqs")
        self._jobs = DynamoJobStore(stack.get_client("dynamodb"), stack.outputs["JobsTableName"])
        self._commands = SqsCommandQueue(sqs, stack.outputs["DispatchQueueUrl"])
        self._harvests = SqsHarvestQueue(sqs, stack.outputs["HarvestQueueUrl"])
        self._dice = random.Random(seed)  # noqa: S311 - a reproducible choice, no secret
        self.sent: Counter[str] = Counter()

    def duplicate(self, job_ids: Sequence[str]) -> None:
        """The message that a job had, has or will have."""
        job = self._jobs.get(DEMO_TENANT, self._dice.choice(job_ids)) if job_ids else None
        if job is None:
            return
        if job.status in {JobStatus.HARVESTING, JobStatus.SUCCEEDED}:
            self._harvests.send(build_continuation_event(job, SystemClock().now()), tenant=job.tenant)
            self.sent["harvest message duplicated"] += 1
        else:
            self._commands.send(DispatchCommand.for_job(DispatchKind.SUBMIT, job))
            self.sent["dispatch message duplicated"] += 1
