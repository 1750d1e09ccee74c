"""Whether a deployed stack does what it promises, asked as an application would ask: over HTTP, with a key.

It runs one real prediction, which costs what the model costs.
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


_ENDED = {"succeeded", "failed", "canceled"}
_CALL_SECONDS = 60.0
_REPLICATES_FILES = ("replicate.delivery", "replicate.com")


class _BrokenError(Exception):
    """A promise that is not kept, and how."""


@dataclass(frozen=True)
class Check:
    promise: str
    kept: bool
    seen: str

    def __str__(self) -> str:
        return f"{'✓' if self.kept else '✗'} {self.promise}: {self.seen}"


def holds(checks: Iterable[Check], say: Callable[[str], None]) -> bool:
    """Whether every promise is kept; each is told as it is checked."""
    kept = True
    for check in checks:
        say(str(check))
        kept = kept and check.kept
    return kept


@dataclass
class Validation:
    """`url` is origin and stage, without /v1; `key` needs the scopes predictions:read and predictions:write.

    `polling` is for stacks that Replicate cannot call back.
    """

    url: str
    key: str
    model: str
    prompt: str
    patience: float = 300.0
    polling: bool = False
    pause: Callable[[float], None] = time.sleep
    _session: requests.Session = field(default_factory=requests.Session, init=False)
    _made: dict[str, Any] = field(default_factory=dict, init=False)
    _ended: dict[str, Any] = field(default_factory=dict, init=False)

    def run(self) -> Iterator[Check]:
        """Each check as it is done; the ones after a prediction that did not succeed are left out."""
        yield self._checked("it answers", self._answers)
        yield self._checked("nobody gets in without a key", self._refuses_strangers)
        yield self._checked("bad input is refused, and the refusal names the field", self._refuses_nonsense)
        idempotency_key = f"release-{secrets.token_hex(16)}"
        ran = self._checked("a prediction succeeds", lambda: self._ends_well(idempotency_key))
        yield ran
        if not ran.kept:
            return
        yield self._checked("the same request is not paid again", lambda: self._replays(idempotency_key))
        yield self._checked("its outputs are kept here and answer", self._keeps_outputs)
        if not self.polling:
            yield self._checked("Replicate's webhook was heard", self._heard)

    def _checked(self, promise: str, look: Callable[[], str]) -> Check:
        try:
            return Check(promise, kept=True, seen=look())
        except _BrokenError as error:
            return Check(promise, kept=False, seen=str(error))
        except requests.RequestException as error:
            return Check(promise, kept=False, seen=type(error).__name__)

    def _answers(self) -> str:
        reply = self._call("GET", f"{self.url}/health", key=None)
        _expect(reply, 200)
        return f"version {reply.json()['version']}"

    def _refuses_strangers(self) -> str:
        _expect(self._call("GET", f"{self.url}/v1/predictions", key=None), 401)
        _expect(self._call("GET", f"{self.url}/v1/predictions", key="rp_nobody_nothing"), 401)
        return "401"

    def _refuses_nonsense(self) -> str:
        body = {"input": {}, "webhook": "http://not-https.example"}
        reply = self._call("POST", self._create, key=self.key, json=body)
        _expect(reply, 422)
        fields = [one.get("field") for one in reply.json().get("invalid_fields", [])]
        if not fields:
            raise _BrokenError("422 without invalid_fields")
        return f"422, {', '.join(map(str, fields))}"

    def _ends_well(self, idempotency_key: str) -> str:
        self._made = self._submit(idempotency_key)
        deadline = time.monotonic() + self.patience
        self._ended = self._made
        while self._ended["status"] not in _ENDED:
            if time.monotonic() > deadline:
                raise _BrokenError(f"still {self._ended['status']} after {self.patience:.0f} s")
            self.pause(1.0)
            reply = self._call("GET", self._made["urls"]["get"], key=self.key)
            _expect(reply, 200)
            self._ended = reply.json()
        if self._ended["status"] != "succeeded":
            raise _BrokenError(f"{self._ended['status']}: {self._ended.get('error')}")
        return f"job {self._ended['id']}"

    def _replays(self, idempotency_key: str) -> str:
        again = self._submit(idempotency_key)
        if again["id"] != self._made["id"]:
            raise _BrokenError(f"a second job, {again['id']}")
        return "the same job"

    def _keeps_outputs(self) -> str:
        urls = list(iterate_urls(self._ended["output"]))
        for url in urls:
            host = urlsplit(url).hostname or ""
            if host.endswith(_REPLICATES_FILES):
                raise _BrokenError("an output is Replicate's own URL, which dies after an hour")
            _expect(self._session.get(url, timeout=_CALL_SECONDS, allow_redirects=False), 200)
        return f"{len(urls)} files" if urls else "no files: text"

    def _heard(self) -> str:
        via = self._ended.get("proxy", {}).get("report_channel")
        if via != "webhook":
            raise _BrokenError(f"the end was found by {via}: docs/deploying.md, When something does not work")
        return "webhook"

    def _submit(self, idempotency_key: str) -> dict[str, Any]:
        reply = self._call(
            "POST",
            self._create,
            key=self.key,
            json={"input": {"prompt": self.prompt}},
            headers={"Idempotency-Key": idempotency_key},
        )
        _expect(reply, 200, 201)
        made: dict[str, Any] = reply.json()
        return made

    @property
    def _create(self) -> str:
        return f"{self.url}/v1/models/{self.model}/predictions"

    def _call(
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
            method, url, json=json, headers=authorization | (headers or {}), timeout=_CALL_SECONDS
        )


def _expect(reply: requests.Response, *statuses: int) -> None:
    if reply.status_code not in statuses:
        raise _BrokenError(f"{reply.status_code} where {' or '.join(map(str, statuses))} was due")
