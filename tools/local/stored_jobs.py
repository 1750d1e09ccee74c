"""Finished jobs written to the jobs table as the pipeline writes them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.clock import SystemClock
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import Document, Job, JobStatus, Submission, SubmissionKind, TimelineStep
from tools.local.stack import Stack


def store_finished_jobs(
    stack: Stack, tenant: str, count: int, status: JobStatus = JobStatus.SUCCEEDED
) -> list[str]:
    """Store jobs that are one second apart, the newest of them now; return their IDs, newest first."""
    store = DynamoJobStore(stack.get_client("dynamodb"), stack.outputs["JobsTableName"])
    jobs = list(_build_jobs(stack.api_url, tenant, count, status))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(store.create, jobs))
    return [job.id for job in jobs]


def _build_jobs(base_url: str, tenant: str, count: int, status: JobStatus) -> Iterator[Job]:
    now = SystemClock().now()
    for age_seconds in range(count):
        time = now - timedelta(seconds=age_seconds)
        yield Job(
            tenant=tenant,
            id=generate_id(time),
            status=status,
            created_at=time,
            submission=Submission(kind=SubmissionKind.VERSION, version="local/lab"),
            input=Document(text=f'{{"output": {age_seconds}}}'),
            correlation_id="stored",
            public_base_url=base_url,
            model="local/lab",
            version="hidden",
            started_at=time,
            completed_at=time,
            output=Document(text=str(age_seconds)),
            timeline={TimelineStep.ACCEPTED: time, TimelineStep.FINISHED: time},
            expires_at=int((now + timedelta(days=1)).timestamp()),
        )
