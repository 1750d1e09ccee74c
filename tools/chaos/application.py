"""The application: submits as a careful one would, retrying under one Idempotency-Key, and takes webhooks."""

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from tools.chaos.mix import RECEIVER_FAILS
from tools.chaos.orders import Order
from tools.local.demo.receiver import WebhookInbox
from tools.local.errors import LocalError
from tools.local.loopback import receive_webhooks
from tools.local.stack import Stack

_TRIES = 60
_TIMEOUT_SECONDS = 60
_LONGEST_PAUSE = 3.0
_REPLAYED = 0.05  # of the jobs are asked for once more after their 201
_CANCELED_SOON = 0.2  # of the canceled jobs, whether they run by then or not
_SOON_SECONDS = (0.0, 60.0)
_UNTIL_IT_RUNS_SECONDS = 600.0
_LOOK_SECONDS = 4.0
_TOO_MANY = 500


@dataclass
class Application:
    """Talks to the proxy's API. `accepted` is what it was promised: the id of each order's job."""

    stack: Stack
    webhook: str
    seed: int
    accepted: dict[int, str] = field(default_factory=dict)
    doubles: list[str] = field(default_factory=list)
    """Ids that a replay gave and that are not the first one's."""

    def submit(self, parcel: Sequence[Order]) -> None:
        """One order by itself or several as a batch, until accepted; then, at times, once more."""
        job_ids = self._create(parcel)
        self.accepted |= {order.number: job_id for order, job_id in zip(parcel, job_ids, strict=True)}
        if self._dice(parcel[0], "replay").random() < _REPLAYED:
            self.doubles += set(self._create(parcel)) - set(job_ids)

    def cancel(self, order: Order) -> None:
        """Some at once, most while it runs."""
        dice = self._dice(order, "cancel")
        soon = dice.random() < _CANCELED_SOON
        patience = dice.uniform(*_SOON_SECONDS) if soon else _UNTIL_IT_RUNS_SECONDS
        job, ends = f"/v1/predictions/{self.accepted[order.number]}", time.monotonic() + patience
        while time.monotonic() < ends and self._persist("GET", job).json()["status"] != "processing":
            time.sleep(_LOOK_SECONDS)
        self._persist("POST", f"{job}/cancel")

    def _dice(self, order: Order, use: str) -> random.Random:
        return random.Random(f"{self.seed}/{order.number}/{use}")  # noqa: S311 - a reproducible choice

    def _create(self, parcel: Sequence[Order]) -> list[str]:
        """The ids of the jobs, in order; the key of the first order is that of the request."""
        bodies, headers = [order.body(self.webhook) for order in parcel], {"Idempotency-Key": parcel[0].key}
        if len(parcel) == 1:
            answer = self._persist("POST", "/v1/predictions", json=bodies[0], headers=headers)
            return [str(answer.json()["id"])]
        answer = self._persist("POST", "/v1/batches", json={"predictions": bodies}, headers=headers)
        return [str(prediction["id"]) for prediction in answer.json()["predictions"]]

    def _persist(self, method: str, path: str, **options: Any) -> requests.Response:
        """Again on no answer, 429 and 5xx, ever slower; what a 4xx says is final."""
        headers = {"Authorization": f"Bearer {self.stack.api_key}", **options.pop("headers", {})}
        for tries in range(_TRIES):
            try:
                answer = requests.request(
                    method, self.stack.api_url + path, headers=headers, timeout=_TIMEOUT_SECONDS, **options
                )
            except requests.RequestException:
                answer = None
            if answer is not None and answer.ok:
                return answer
            if answer is not None and answer.status_code < _TOO_MANY and answer.status_code not in {409, 429}:
                raise LocalError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            time.sleep(min(0.1 * 2**tries, _LONGEST_PAUSE))
        raise LocalError(f"{method} {path}: no good answer in {_TRIES} tries")


class UnreliableInbox(WebhookInbox):
    """Takes the proxy's webhooks, but fails now and then."""

    def __init__(self, secret: str, seed: int) -> None:
        super().__init__(secret=secret)
        self.failed = 0
        self._dice = random.Random(seed)  # noqa: S311 - a reproducible choice, no secret

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        if self._dice.random() < RECEIVER_FAILS:
            self.failed += 1
            return 503
        return super().receive(headers, body)

    def statuses(self) -> dict[str, set[str]]:
        """What it was told of each job."""
        told: dict[str, set[str]] = defaultdict(set)
        for _, body in list(self.accepted):
            told[str(body["id"])].add(str(body["status"]))
        return told


@contextmanager
def receiving(secret: str, seed: int) -> Iterator[UnreliableInbox]:
    """An inbox that listens on loopback while the block runs."""
    inbox = UnreliableInbox(secret, seed)
    with receive_webhooks(inbox.take) as origin:
        inbox.url = f"{origin}/webhooks/chaos"
        yield inbox
