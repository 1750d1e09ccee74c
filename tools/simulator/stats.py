"""Counts since start or the last reset."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tools.simulator.store import Prediction


@dataclass(slots=True)
class Stats:
    """What was asked of the simulator and what it sent out by itself."""

    created: int = 0
    created_by_job: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    replies: Counter[str] = field(default_factory=Counter)
    third_party_downloads: int = 0
    webhooks_sent: int = 0
    webhooks_acknowledged: int = 0

    def count_created(self, prediction: Prediction, job_parameters: tuple[str, ...]) -> None:
        """Count a prediction, in total and for the job that its webhook URL names."""
        self.created += 1
        if prediction.webhook:
            for name, value in parse_qsl(urlsplit(prediction.webhook).query):
                if name in job_parameters:
                    self.created_by_job[value] += 1

    def report(self) -> dict[str, Any]:
        """The counts as JSON."""
        return {
            "predictions_created": self.created,
            "predictions_by_job": dict(self.created_by_job),
            "requests": dict(self.requests),
            "replies": dict(self.replies),
            "third_party_downloads": self.third_party_downloads,
            "webhooks_sent": self.webhooks_sent,
            "webhooks_acknowledged": self.webhooks_acknowledged,
        }
