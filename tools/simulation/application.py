"""The applications of the tenants: what their webhook receivers do, and what they have taken."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_proxy import signing
from replicate_proxy.webhooks.model import AttemptResult, ErrorCode
from replicate_proxy.webhooks.sender import ReceiverResponse, classify_response
from tools.simulation.decisions import Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tools.simulation.faults import FaultPlan
    from tools.simulation.scheduler import Actor, Scheduler

_TIMEOUT_SECONDS = 15.0
_STATUSES = {"busy": 503, "refused": 400, "broken": 500, "gone": 410}


@dataclass(frozen=True, slots=True)
class Taken:
    """One request that a receiver answered with 2xx. `is_answered`: the answer reached the proxy."""

    at: float
    url: str
    message_id: str
    event: str
    prediction: Mapping[str, object]
    is_answered: bool
    sender: Actor
    failed_calls_before: int
    is_redelivery: bool

    @property
    def sequence(self) -> int:
        """The position of the event among those of its prediction."""
        proxy: Any = self.prediction["proxy"]
        return int(proxy["sequence"])

    @property
    def must_be_recorded(self) -> bool:
        """Whether the sending process could record the answer: it lived on, and could save the delivery."""
        failed = self.sender.failed_calls[self.failed_calls_before :]
        return not self.sender.is_crashed and not any(
            call.is_write
            and str(call.parameters.get("Item", {}).get("sk", {})).startswith("{'S': 'DELIVERY#")
            for call in failed
        )


@dataclass
class Receiver:
    """One URL. It refuses every `refused_event` until `refuses_until`, as code does that does not know it."""

    url: str
    rates: Rates
    dead_until: float = 0.0
    refused_event: str = ""
    refuses_until: float = 0.0
    taken: list[Taken] = field(default_factory=list)

    def has_taken(self, message_id: str) -> bool:
        """Return whether it drops this event as a repetition, which it answers with 2xx unless it is busy.

        docs/webhooks.md asks receivers for that. If one rejected what it has taken, no order could be kept.
        """
        return any(taken.message_id == message_id for taken in self.taken)


class Applications:
    """The Sender port: carries a request to a receiver, which answers in one of many ways."""

    def __init__(self, scheduler: Scheduler, plan: FaultPlan) -> None:
        self.receivers: dict[str, Receiver] = {}
        self.on_taken: Callable[[Taken], None] = lambda _: None
        self.on_post: Callable[[str, Actor], None] = lambda _id, _sender: None
        self.on_failure: Callable[[Actor], None] = lambda _sender: None
        self.find_secrets: Callable[[str], tuple[str, ...]]
        # Whether somebody asked for this request again: a redelivery is in no order.
        self.is_redelivery: Callable[[str, Mapping[str, str], Mapping[str, object]], bool]
        self.invalid_signatures: list[str] = []
        self._scheduler = scheduler
        self._plan = plan

    def add_receiver(self, url: str, source: random.Random) -> Receiver:
        """Add a receiver with habits of its own."""
        factor = source.choice((0.0, 1.0, 1.0, 4.0))
        rates = Rates(
            busy=0.03 * factor,
            refused=0.03 * factor,
            broken=0.03 * factor,
            timeout=0.02 * factor,
            answer_lost=0.03 * factor,
            slow=0.05 * factor,
            gone=0.002 * factor,
        )
        receiver = self.receivers[url] = Receiver(url, rates)
        own = random.Random(f"{self._scheduler.seed}/{url}")
        if own.random() < 0.5:
            receiver.refused_event = own.choice(("start", "start", "output"))
            receiver.refuses_until = self._scheduler.now + own.uniform(600, 4000)
        return receiver

    def count_redeliveries(self) -> int:
        """Return how many redeliveries were taken."""
        return sum(taken.is_redelivery for receiver in self.receivers.values() for taken in receiver.taken)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> ReceiverResponse:
        """Handle one request in the current actor."""
        sender = self._scheduler.actor.process
        self.on_post(headers["webhook-id"], sender)
        response = self._respond(url, headers, body)
        if response.result is not AttemptResult.DELIVERED:
            self.on_failure(sender)
        return response

    def _respond(self, url: str, headers: Mapping[str, str], body: bytes) -> ReceiverResponse:
        actor = self._scheduler.actor
        receiver = self.receivers[url]
        start = self._scheduler.now
        self._plan.pause(actor, f"POST {url} {headers['webhook-id'][-6:]}", "")
        if receiver.dead_until > start:
            return _missing(ErrorCode.UNREACHABLE, 0.01)
        if receiver.refused_event == headers["x-proxy-event"] and receiver.refuses_until > start:
            return classify_response(400, {}, b"", duration_seconds=0.05)
        choice = self._plan.choose(actor, receiver.rates, kind="receiver")
        if choice == "timeout":
            self._scheduler.sleep(_TIMEOUT_SECONDS)
            return _missing(ErrorCode.TIMEOUT, _TIMEOUT_SECONDS)
        if choice in _STATUSES and not (choice != "busy" and receiver.has_taken(headers["webhook-id"])):
            return classify_response(_STATUSES[choice], {}, b"", duration_seconds=0.05)
        if choice == "slow":
            self._scheduler.sleep(actor.random.uniform(1.0, 14.0))
        self._take(receiver, headers, body, actor.process, is_answered=choice != "answer_lost")
        if choice == "answer_lost":
            self._scheduler.sleep(_TIMEOUT_SECONDS)
            return _missing(ErrorCode.TIMEOUT, _TIMEOUT_SECONDS)
        self._plan.observe(actor, "taken")
        self._plan.pause(actor, "", "")
        return classify_response(200, {}, b"", duration_seconds=self._scheduler.now - start)

    def _take(
        self,
        receiver: Receiver,
        headers: Mapping[str, str],
        body: bytes,
        sender: Actor,
        *,
        is_answered: bool,
    ) -> None:
        if not self._is_signed(receiver.url, headers, body):
            self.invalid_signatures.append(headers["webhook-id"])
        prediction = json.loads(body)
        taken = Taken(
            at=self._scheduler.now,
            url=receiver.url,
            message_id=headers["webhook-id"],
            event=headers["x-proxy-event"],
            prediction=prediction,
            is_answered=is_answered,
            sender=sender,
            failed_calls_before=len(sender.failed_calls),
            is_redelivery=self.is_redelivery(receiver.url, headers, prediction),
        )
        receiver.taken.append(taken)
        self.on_taken(taken)

    def _is_signed(self, url: str, headers: Mapping[str, str], body: bytes) -> bool:
        return signing.webhook_signature_matches(
            self.find_secrets(url),
            message_id=headers["webhook-id"],
            timestamp=int(headers["webhook-timestamp"]),
            body=body,
            header=headers["webhook-signature"],
        )


def _missing(error_code: ErrorCode, seconds: float) -> ReceiverResponse:
    return ReceiverResponse(result=AttemptResult.UNAVAILABLE, error_code=error_code, duration_seconds=seconds)
