"""The application in the run: submits jobs with retries under one idempotency key, and receives webhooks."""

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from tools.chaos.faults import RECEIVER_FAILURE_SHARE
from tools.chaos.workload import PlannedJob
from tools.local.demo.receiver import WebhookInbox
from tools.local.errors import LocalError
from tools.local.loopback import receive_webhooks
from tools.local.stack import Stack

_MAX_ATTEMPTS = 60
_TIMEOUT_SECONDS = 60
_MAX_BACKOFF_SECONDS = 3.0
_REPLAYED_SHARE = 0.05  # of the create requests are repeated after their 201
_EARLY_CANCEL_SHARE = 0.2  # of the cancels come at a random time, whether or not the job runs by then
_MAX_EARLY_CANCEL_SECONDS = 60.0
_MAX_WAIT_FOR_RUN_SECONDS = 600.0
_POLL_SECONDS = 4.0
_FIRST_SERVER_ERROR = 500
_RETRYABLE_CLIENT_ERRORS = frozenset({409, 429})


@dataclass
class Application:
    """Calls the proxy's API.

    `accepted` has the ID of each accepted job by number. `duplicate_ids` has the IDs that a repeated request
    returned in addition; there must be none.
    """

    stack: Stack
    webhook_url: str
    seed: int
    accepted: dict[int, str] = field(default_factory=dict)
    duplicate_ids: list[str] = field(default_factory=list)

    def submit(self, jobs: Sequence[PlannedJob]) -> None:
        """Create one job, or several as a batch; sometimes repeat the accepted request."""
        job_ids = self._create(jobs)
        self.accepted |= {job.number: job_id for job, job_id in zip(jobs, job_ids, strict=True)}
        if self._create_rng(jobs[0], "replay").random() < _REPLAYED_SHARE:
            self.duplicate_ids += set(self._create(jobs)) - set(job_ids)

    def cancel(self, job: PlannedJob) -> None:
        """Cancel a job: sometimes early, otherwise as soon as it runs."""
        rng = self._create_rng(job, "cancel")
        wait_seconds = _MAX_WAIT_FOR_RUN_SECONDS
        if rng.random() < _EARLY_CANCEL_SHARE:
            wait_seconds = rng.uniform(0.0, _MAX_EARLY_CANCEL_SECONDS)
        path = f"/v1/predictions/{self.accepted[job.number]}"
        deadline = time.monotonic() + wait_seconds
        while time.monotonic() < deadline:
            if self._request_with_retries("GET", path).json()["status"] == "processing":
                break
            time.sleep(_POLL_SECONDS)
        self._request_with_retries("POST", f"{path}/cancel")

    def _create_rng(self, job: PlannedJob, purpose: str) -> random.Random:
        return random.Random(f"{self.seed}/{job.number}/{purpose}")  # noqa: S311 - must be reproducible

    def _create(self, jobs: Sequence[PlannedJob]) -> list[str]:
        """Return the job IDs in order. The idempotency key of the first job is that of the request."""
        bodies = [job.build_body(self.webhook_url) for job in jobs]
        headers = {"Idempotency-Key": jobs[0].idempotency_key}
        if len(jobs) == 1:
            response = self._request_with_retries("POST", "/v1/predictions", json=bodies[0], headers=headers)
            return [str(response.json()["id"])]
        batch = {"predictions": bodies}
        response = self._request_with_retries("POST", "/v1/batches", json=batch, headers=headers)
        return [str(prediction["id"]) for prediction in response.json()["predictions"]]

    def _request_with_retries(self, method: str, path: str, **options: Any) -> requests.Response:
        """Return a successful response. Retry without a response and on 409, 429 and 5xx.

        Raises LocalError for other 4xx and after too many attempts.
        """
        headers = {"Authorization": f"Bearer {self.stack.api_key}", **options.pop("headers", {})}
        url = self.stack.api_url + path
        for attempt in range(_MAX_ATTEMPTS):
            try:
                response = requests.request(method, url, headers=headers, timeout=_TIMEOUT_SECONDS, **options)
            except requests.RequestException:
                response = None
            if response is not None and response.ok:
                return response
            if response is not None and not _is_retryable(response.status_code):
                raise LocalError(f"{method} {path}: {response.status_code} {response.text[:300]}")
            time.sleep(min(0.1 * 2**attempt, _MAX_BACKOFF_SECONDS))
        raise LocalError(f"{method} {path}: no successful response in {_MAX_ATTEMPTS} attempts")


def _is_retryable(status_code: int) -> bool:
    return status_code >= _FIRST_SERVER_ERROR or status_code in _RETRYABLE_CLIENT_ERRORS


class UnreliableReceiver(WebhookInbox):
    """Receives the proxy's webhooks and rejects a share of them."""

    def __init__(self, secret: str, seed: int) -> None:
        super().__init__(secret=secret)
        self.rejected_count = 0
        self._rng = random.Random(seed)  # noqa: S311 - must be reproducible, guards no secret

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Return the status code of the response."""
        if self._rng.random() < RECEIVER_FAILURE_SHARE:
            self.rejected_count += 1
            return 503
        return super().receive(headers, body)

    def collect_statuses(self) -> dict[str, set[str]]:
        """Return the statuses that were received, by job ID."""
        statuses: dict[str, set[str]] = defaultdict(set)
        for _, body in list(self.accepted):
            statuses[str(body["id"])].add(str(body["status"]))
        return statuses


@contextmanager
def open_unreliable_receiver(secret: str, seed: int) -> Iterator[UnreliableReceiver]:
    """Yield a receiver that listens on loopback for the duration of the block."""
    receiver = UnreliableReceiver(secret, seed)
    with receive_webhooks(receiver.receive) as origin:
        receiver.url = f"{origin}/webhooks/chaos"
        yield receiver
