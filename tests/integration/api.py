"""Plain HTTP against the stack, as any language does it without a client library."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from tools.local import waiting
from tools.local.errors import LocalError

TERMINAL = frozenset({"succeeded", "failed", "canceled"})
FINISH_SECONDS = 90.0
CALL_SECONDS = 120.0  # a burst of calls starts many functions, which a busy machine does slowly


@dataclass(frozen=True)
class ApiClient:
    """One tenant's view: `url` is origin and stage, `key` the tenant's."""

    url: str
    key: str
    tenant: str

    def call(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Any request with the tenant's key; `body` is sent as JSON, bytes as they are."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {"authorization": f"Bearer {self.key}", "content-type": "application/json", **(headers or {})}
        return requests.request(
            method, f"{self.url}{path}", data=data, headers=sent, timeout=CALL_SECONDS, allow_redirects=False
        )

    def create(
        self, version: str, given: Mapping[str, Any], *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> dict[str, Any]:
        """The prediction that a create answers with; `version` is `owner/name` or 64 digits."""
        answer = self.call(
            "POST", "/v1/predictions", {"version": version, "input": given, **more}, headers=headers
        )
        assert answer.status_code in {201, 202}, answer.text
        return _object(answer)

    def get(self, job_id: str) -> dict[str, Any]:
        answer = self.call("GET", f"/v1/predictions/{job_id}")
        assert answer.status_code == 200, answer.text
        return _object(answer)

    def wait_until_finished(self, job_id: str, *, timeout_seconds: float = FINISH_SECONDS) -> dict[str, Any]:
        """The prediction once it is over."""
        last: dict[str, Any] = {}

        def over() -> dict[str, Any] | None:
            last.update(self.get(job_id))
            return last if last["status"] in TERMINAL else None

        try:
            return waiting.wait_for(over, timeout_seconds=timeout_seconds, description="end of the job")
        except LocalError as error:
            raise AssertionError(f"{error}: {json.dumps(last)[:2000]}") from None

    def run(self, version: str, given: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Create and wait for the end, whatever it is."""
        return self.wait_until_finished(self.create(version, given, **more)["id"])


def _object(answer: requests.Response) -> dict[str, Any]:
    parsed: dict[str, Any] = answer.json()
    return parsed
