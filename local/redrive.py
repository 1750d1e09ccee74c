"""Dead letters back to where they came from, by way of the admin API: `make redrive`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from local.errors import LocalError

_TRIES = 5
_PAUSE_SECONDS = 1.0
_TIMEOUT_SECONDS = 35


@dataclass(frozen=True)
class DeadLetters:
    """The dead-letter queues of one deployment. Raises LocalError with the API's own words."""

    api_url: str
    admin_key: str

    def waiting(self) -> dict[str, int]:
        """Dead letters by queue name, with those that somebody is looking at."""
        rows = self._call("GET", "/admin/queues")["results"]
        return {
            row["name"]: row["dead_letters"]["waiting"] + row["dead_letters"]["in_flight"] for row in rows
        }

    def peek(self, queue: str, *, limit: int = 10, with_body: bool = False) -> list[dict[str, Any]]:
        """What some letters are about; they stay where they are."""
        body = "&body=true" if with_body else ""
        shown = self._call("GET", f"/admin/queues/{queue}/dead-letters?limit={limit}{body}")
        return list(shown["results"])

    def redrive(self, queue: str, which: Mapping[str, Any] | None = None, *, rate: float = 20) -> int:
        """Sends back all, or those that `which` takes (tenant, job_id, message_ids); how many that were."""
        handled = 0
        while True:
            wanted = {**(which or {}), "rate_per_second": rate}
            outcome = self._call("POST", f"/admin/queues/{queue}/redrive", wanted)
            handled += int(outcome["handled"])
            if outcome["done"] or not outcome["handled"]:
                return handled

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.admin_key}"}
        for last in (*[False] * (_TRIES - 1), True):
            try:
                answer = requests.request(
                    method, self.api_url + path, json=body, headers=headers, timeout=_TIMEOUT_SECONDS
                )
            except requests.RequestException as error:
                reason = type(error).__name__
            else:
                if answer.ok:
                    shown: dict[str, Any] = answer.json()
                    return shown
                reason = f"{answer.status_code} {answer.text[:300]}"
                last = last or answer.status_code < requests.codes.server_error  # noqa: PLW2901
            if last:
                raise LocalError(f"{method} {path}: {reason}")
            time.sleep(_PAUSE_SECONDS)
        raise AssertionError("the last try ends the loop")
