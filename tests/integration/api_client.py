"""A plain HTTP client of the API."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from tools.local.errors import LocalError
from tools.local.waiting import wait_for

TERMINAL_STATUSES = frozenset({"succeeded", "failed", "canceled"})
_JOB_TIMEOUT_SECONDS = 90.0
# Many simultaneous requests start many functions, which takes long on a busy machine.
_REQUEST_TIMEOUT_SECONDS = 120.0
_MAX_REPETITIONS = 5
_UNCHECKED = "Your token could not be checked"


@dataclass(frozen=True)
class ApiClient:
    """Sends requests with one credential. `url` is origin and stage, without /v1."""

    url: str
    key: str
    tenant: str = ""

    def call(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Send a request; the body is sent as JSON unless it is bytes."""
        return requests.request(
            method,
            f"{self.url}{path}",
            data=body if isinstance(body, bytes | None) else json.dumps(body).encode(),
            headers={
                "authorization": f"Bearer {self.key}",
                "content-type": "application/json",
                **(headers or {}),
            },
            timeout=_REQUEST_TIMEOUT_SECONDS,
            allow_redirects=False,
        )

    def create(
        self,
        version: str,
        model_input: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Create a prediction and return it; `version` is `owner/name` or 64 hexadecimal digits."""
        body = {"version": version, "input": model_input, **fields}
        response = self.call_until_available("POST", "/v1/predictions", body, headers=headers)
        assert response.status_code in {201, 202}, response.text
        return _parse_object(response)

    def upload_lines(self, content: bytes) -> str:
        """Upload the input file of a large batch and return its ID."""
        response = requests.post(
            f"{self.url}/v1/files",
            headers={"authorization": f"Bearer {self.key}"},
            files={"content": ("lines.jsonl", content, "application/jsonl")},
            timeout=_REQUEST_TIMEOUT_SECONDS,
        )
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    def get(self, job_id: str) -> dict[str, Any]:
        response = self.call_until_available("GET", f"/v1/predictions/{job_id}")
        assert response.status_code == 200, response.text
        return _parse_object(response)

    def call_until_available(self, *arguments: Any, **options: Any) -> requests.Response:
        """Do the same as `call`; repeat a request that is 503 because its key could not be checked in time.

        That happens where more functions start than the machine has time for. The request got no further, so
        it can be repeated.
        """
        for _ in range(_MAX_REPETITIONS):
            response = self.call(*arguments, **options)
            if response.status_code != 503 or _UNCHECKED not in response.text:
                break
            time.sleep(response.json()["retry_after"])
        return response

    def wait_until_finished(
        self, job_id: str, *, timeout_seconds: float = _JOB_TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        """Return the prediction once it has a terminal status."""
        prediction: dict[str, Any] = {}

        def get_finished() -> dict[str, Any] | None:
            prediction.update(self.get(job_id))
            return prediction if prediction["status"] in TERMINAL_STATUSES else None

        try:
            return wait_for(
                get_finished, timeout_seconds=timeout_seconds, description="the end of the prediction"
            )
        except LocalError as error:
            raise AssertionError(f"{error}: {json.dumps(prediction)[:2000]}") from None

    def run(self, version: str, model_input: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """Create a prediction and return it once it has a terminal status."""
        return self.wait_until_finished(self.create(version, model_input, **fields)["id"])


def _parse_object(response: requests.Response) -> dict[str, Any]:
    parsed: dict[str, Any] = response.json()
    return parsed
