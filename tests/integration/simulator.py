"""The local Replicate's control API, for tests."""

from typing import Any

import requests

TIMEOUT_SECONDS = 30


class SimulatorControl:
    """Injects faults, changes settings, and tells what the local Replicate saw."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._initial = self._call("GET", "settings")

    def calm(self) -> None:
        """No fault is left and every setting is as it was; predictions and counts stay."""
        self._call("DELETE", "faults")
        self._call("POST", "settings", self._initial)

    def faults(self, *rules: dict[str, Any]) -> None:
        """Adds rules; `local/replicate/README.md` lists the kinds."""
        self._call("POST", "faults", list(rules))

    def settings(self, **changes: Any) -> None:
        self._call("POST", "settings", changes)

    def stats(self) -> dict[str, Any]:
        return self._call("GET", "stats")

    def timeline(self, replicate_id: str) -> dict[str, Any]:
        """One prediction's times and every attempt to deliver its webhooks."""
        return self._call("GET", f"predictions/{replicate_id}/timeline")

    def predictions(self, webhook: str = "") -> list[dict[str, Any]]:
        """All predictions whose webhook URL contains the text, oldest first."""
        results: list[dict[str, Any]] = self._call("GET", f"predictions?webhook={webhook}")["results"]
        return results

    def complete(self, replicate_id: str, **how: Any) -> dict[str, Any]:
        """Ends a prediction that the setting `hold` keeps running."""
        return self._call("POST", f"predictions/{replicate_id}/complete", how)

    def expire(self, replicate_id: str) -> dict[str, Any]:
        """Removes a prediction's data as Replicate does an hour after completion."""
        return self._call("POST", f"predictions/{replicate_id}/expire")

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = requests.request(method, f"{self.url}/_control/{path}", json=body, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found
