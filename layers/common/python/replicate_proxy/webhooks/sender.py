"""One signed POST to a receiver and what to make of its answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.errors import PermanentError
from replicate_proxy.net.errors import ForbiddenUrlError, RequestTimeoutError, UnreachableError
from replicate_proxy.webhooks.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager


# The receiver, or what stands before it, says that it is not there or not now: no event would fare better.
_NOT_NOW = frozenset({408, 425, 429, 502, 503, 504})
_GONE = 410


class Failure(StrEnum):
    """Why an attempt failed, in the words of the attempt record."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    FORBIDDEN_ADDRESS = "forbidden_address"
    BAD_ANSWER = "bad_answer"
    REDIRECT = "redirect"
    CLIENT_ERROR = "http_4xx"
    SERVER_ERROR = "http_5xx"
    OTHER_STATUS = "http_other"


class Instruction(StrEnum):
    """What a receiver may ask for beyond success or failure."""

    DISABLE_GONE = "gone"
    DISABLE = "disable"
    ABORT = "abort-message"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The outcome of one request. `text` is the beginning of the body, `retry_after` the header as sent."""

    verdict: Verdict
    duration: float
    status: int | None = None
    failure: Failure | None = None
    text: str = ""
    retry_after: str | None = None
    instruction: Instruction | None = None

    @property
    def hung(self) -> bool:
        """No answer at all: such a receiver holds a worker for as long as the timeouts allow."""
        return self.status is None


class HttpAnswer(Protocol):
    """The part of `net.response.GuardedResponse` that is read here."""

    status: int
    headers: Mapping[str, str]

    def read_prefix(self, max_bytes: int) -> bytes: ...


class Session(Protocol):
    """The part of `net.session.GuardedSession` that is called here."""

    def request(
        self,
        method: str,
        url: str,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        stream: bool = False,
    ) -> AbstractContextManager[HttpAnswer]: ...


class GuardedSender:
    """The Sender port: checked addresses, no redirects, `timeout` in seconds, `answer_limit` in bytes."""

    def __init__(
        self,
        session: Session,
        *,
        timeout: float,
        answer_limit: int,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._session = session
        self._timeout = timeout
        self._answer_limit = answer_limit
        self._timer = timer

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        start = self._timer()
        try:
            with self._session.request(
                "POST", url, timeout_seconds=self._timeout, headers=headers, data=body, stream=True
            ) as response:
                head = response.read_prefix(self._answer_limit)
                return judge(response.status, response.headers, head, duration=self._timer() - start)
        except RequestTimeoutError:
            failure = Failure.TIMEOUT
        except UnreachableError:
            failure = Failure.UNREACHABLE
        except ForbiddenUrlError:
            failure = Failure.FORBIDDEN_ADDRESS
        except PermanentError:
            failure = Failure.BAD_ANSWER
        return Answer(verdict=Verdict.DOWN, failure=failure, duration=self._timer() - start)


def judge(status: int, headers: Mapping[str, str], head: bytes, *, duration: float) -> Answer:
    """Only 2xx is success (Standard Webhooks specification, "Deliverability and reliability")."""
    lowered = {name.lower(): value for name, value in headers.items()}
    failure = _failure(status)
    verdict = Verdict.DOWN if status in _NOT_NOW else Verdict.REFUSED
    return Answer(
        verdict=Verdict.TAKEN if failure is None else verdict,
        duration=duration,
        status=status,
        failure=failure,
        text=head.decode("utf-8", "replace"),
        retry_after=lowered.get("retry-after"),
        instruction=_instruction(status, lowered.get("webhook-delivery", "")),
    )


def _failure(status: int) -> Failure | None:
    by_class = {2: None, 3: Failure.REDIRECT, 4: Failure.CLIENT_ERROR, 5: Failure.SERVER_ERROR}
    return by_class.get(status // 100, Failure.OTHER_STATUS)


def _instruction(status: int, header: str) -> Instruction | None:
    """410 as the specification has it, or Svix's `webhook-delivery` header."""
    if status == _GONE:
        return Instruction.DISABLE_GONE
    word = header.strip().lower()
    return Instruction(word) if word in {Instruction.DISABLE, Instruction.ABORT} else None
