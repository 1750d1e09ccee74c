"""Validation of a deployed stack by real requests with an API key, as an application would send them.

It runs one prediction, for the usual price of the model.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from tools.local.demo.evidence import iterate_urls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


_TERMINAL_STATUSES = {"succeeded", "failed", "canceled"}
_REQUEST_TIMEOUT_SECONDS = 60.0
_POLL_INTERVAL_SECONDS = 1.0
_REPLICATE_DOMAINS = ("replicate.delivery", "replicate.com")


class _CheckFailedError(Exception):
    """A check that failed; the message says what was found."""


@dataclass(frozen=True)
class CheckResult:
    """What a check expects, whether it passed, and what it found."""

    expectation: str
    passed: bool
    detail: str

    def __str__(self) -> str:
        return f"{'✓' if self.passed else '✗'} {self.expectation}: {self.detail}"


def run_checks(results: Iterable[CheckResult], print_line: Callable[[str], None]) -> bool:
    """Print each result as soon as it is there, and return whether all checks passed."""
    all_passed = True
    for result in results:
        print_line(str(result))
        all_passed = all_passed and result.passed
    return all_passed


@dataclass
class Validation:
    """The checks of one stack.

    `url` is the stack output ApiUrl, without /v1; `api_key` needs the scopes predictions:read and
    predictions:write. Set `expects_webhook` to False for a stack that Replicate cannot reach.
    """

    url: str
    api_key: str
    model: str
    prompt: str
    timeout_seconds: float = 300.0
    expects_webhook: bool = True
    sleep: Callable[[float], None] = time.sleep
    _session: requests.Session = field(default_factory=requests.Session, init=False)
    _created: dict[str, Any] = field(default_factory=dict, init=False)
    _finished: dict[str, Any] = field(default_factory=dict, init=False)

    def run(self) -> Iterator[CheckResult]:
        """Yield the result of each check; stop if the API does not respond or the prediction fails."""
        health_result = self._run_check("the API responds", self._check_health)
        yield health_result
        if not health_result.passed:
            return
        yield self._run_check("requests without a valid key are rejected", self._check_authentication)
        yield self._run_check(
            "invalid input is rejected with the name of the field", self._check_input_validation
        )
        idempotency_key = f"release-{secrets.token_hex(16)}"
        prediction_result = self._run_check(
            "a prediction succeeds", lambda: self._check_prediction(idempotency_key)
        )
        yield prediction_result
        if not prediction_result.passed:
            return
        yield self._run_check(
            "a repeated request creates no second prediction",
            lambda: self._check_idempotency(idempotency_key),
        )
        yield self._run_check("outputs are stored and served by the stack", self._check_outputs)
        if self.expects_webhook:
            yield self._run_check("Replicate's webhook was received", self._check_webhook)

    def _run_check(self, expectation: str, check: Callable[[], str]) -> CheckResult:
        """Run the check, which returns what it found or raises an error."""
        try:
            return CheckResult(expectation, passed=True, detail=check())
        except _CheckFailedError as error:
            return CheckResult(expectation, passed=False, detail=str(error))
        except requests.RequestException as error:
            detail = f"no response of {self.url}: {type(error).__name__}"
            return CheckResult(expectation, passed=False, detail=detail)

    def _check_health(self) -> str:
        response = self._request("GET", f"{self.url}/health", key=None)
        _expect_status(response, 200)
        return f"version {response.json()['version']}"

    def _check_authentication(self) -> str:
        _expect_status(self._request("GET", f"{self.url}/v1/predictions", key=None), 401)
        _expect_status(self._request("GET", f"{self.url}/v1/predictions", key="rp_nobody_nothing"), 401)
        return "401"

    def _check_input_validation(self) -> str:
        body = {"input": {}, "webhook": "http://not-https.example"}
        response = self._request("POST", self._create_url, key=self.api_key, json=body)
        _expect_status(response, 422)
        fields = [invalid.get("field") for invalid in response.json().get("invalid_fields", [])]
        if not fields:
            raise _CheckFailedError("422 without invalid_fields")
        return f"422, {', '.join(map(str, fields))}"

    def _check_prediction(self, idempotency_key: str) -> str:
        self._created = self._create_prediction(idempotency_key)
        self._finished = self._created
        deadline = time.monotonic() + self.timeout_seconds
        while self._finished["status"] not in _TERMINAL_STATUSES:
            if time.monotonic() > deadline:
                raise _CheckFailedError(
                    f"still {self._finished['status']} after {self.timeout_seconds:.0f} s"
                )
            self.sleep(_POLL_INTERVAL_SECONDS)
            self._finished = self._read_prediction()
        if self._finished["status"] != "succeeded":
            raise _CheckFailedError(f"{self._finished['status']}: {self._finished.get('error')}")
        return f"job {self._finished['id']}"

    def _read_prediction(self) -> dict[str, Any]:
        """Return the prediction, from the list as long as that has it.

        A read of a single one makes the stack ask Replicate (`ProgressIntervalSeconds`), and its answer could
        come before the webhook that is to be checked.
        """
        listed = self._request("GET", f"{self.url}/v1/predictions", key=self.api_key)
        _expect_status(listed, 200)
        prediction: dict[str, Any]
        for prediction in listed.json()["results"]:
            if prediction["id"] == self._created["id"]:
                return prediction
        response = self._request("GET", self._created["urls"]["get"], key=self.api_key)
        _expect_status(response, 200)
        prediction = response.json()
        return prediction

    def _check_idempotency(self, idempotency_key: str) -> str:
        repeated = self._create_prediction(idempotency_key)
        if repeated["id"] != self._created["id"]:
            raise _CheckFailedError(f"a second job, {repeated['id']}")
        return "the same job"

    def _check_outputs(self) -> str:
        urls = list(iterate_urls(self._finished["output"]))
        for url in urls:
            host = urlsplit(url).hostname or ""
            if host.endswith(_REPLICATE_DOMAINS):
                raise _CheckFailedError("an output is at Replicate, which deletes it after an hour")
            response = self._session.get(url, timeout=_REQUEST_TIMEOUT_SECONDS, allow_redirects=False)
            _expect_status(response, 200)
        return f"{len(urls)} files" if urls else "no files: text"

    def _check_webhook(self) -> str:
        channel = self._finished.get("proxy", {}).get("report_channel")
        if channel != "webhook":
            raise _CheckFailedError(f"the completion was reported by {channel}; see docs/deploying.md")
        return "webhook"

    def _create_prediction(self, idempotency_key: str) -> dict[str, Any]:
        response = self._request(
            "POST",
            self._create_url,
            key=self.api_key,
            json={"input": {"prompt": self.prompt}},
            headers={"Idempotency-Key": idempotency_key},
        )
        _expect_status(response, 200, 201)
        prediction: dict[str, Any] = response.json()
        return prediction

    @property
    def _create_url(self) -> str:
        return f"{self.url}/v1/models/{self.model}/predictions"

    def _request(
        self,
        method: str,
        url: str,
        *,
        key: str | None,
        json: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        authorization = {"Authorization": f"Bearer {key}"} if key else {}
        return self._session.request(
            method,
            url,
            json=json,
            headers=authorization | (headers or {}),
            timeout=_REQUEST_TIMEOUT_SECONDS,
        )


def _expect_status(response: requests.Response, *statuses: int) -> None:
    if response.status_code not in statuses:
        expected = " or ".join(map(str, statuses))
        raise _CheckFailedError(f"{response.status_code} instead of {expected}")
