"""Many finished jobs of one tenant, written to the jobs table as the pipeline writes them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.clock import SystemClock
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import Document, Job, JobStatus, Submission, SubmissionKind, TimelineStep
from tools.local.stack import Stack


def store_finished_jobs(stack: Stack, tenant: str, number: int) -> list[str]:
    """The ids, newest first; one job a second, the newest of them now."""
    store = DynamoJobStore(stack.get_client("dynamodb"), stack.outputs["JobsTableName"])
    jobs = list(_jobs(stack.api_url, tenant, number))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(store.create, jobs))
    return [job.id for job in jobs]


def _jobs(base_url: str, tenant: str, number: int) -> Iterator[Job]:
    now = SystemClock().now()
    for age in range(number):
        at = now - timedelta(seconds=age)
        yield Job(
            tenant=tenant,
            id=generate_id(at),
            status=JobStatus.SUCCEEDED,
            created_at=at,
            submission=Submission(kind=SubmissionKind.VERSION, version="local/lab"),
            input=Document(text=f'{{"output": {age}}}'),
            correlation_id="crowd",
            public_base_url=base_url,
            model="local/lab",
            version="hidden",
            started_at=at,
            completed_at=at,
            output=Document(text=str(age)),
            timeline={TimelineStep.ACCEPTED: at, TimelineStep.FINISHED: at},
            expires_at=int((now + timedelta(days=1)).timestamp()),
        )
