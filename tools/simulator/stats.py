"""Counts of requests, predictions and webhooks since start or the last reset."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.simulator.invoice import find_jobs
from tools.simulator.predictions import Prediction


@dataclass(slots=True)
class Stats:
    """Counts of what the simulator received and sent.

    `requests` is by endpoint, `responses` by "endpoint status".
    """

    predictions_created: int = 0
    predictions_by_job: Counter[str] = field(default_factory=Counter)
    predictions_by_account: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    responses: Counter[str] = field(default_factory=Counter)
    third_party_downloads: int = 0
    streams_with_credentials: int = 0
    webhooks_sent: int = 0
    webhooks_acknowledged: int = 0

    def count_prediction(self, prediction: Prediction, job_parameters: tuple[str, ...]) -> None:
        """Count a new prediction, in total and for the job that its webhook URL names."""
        self.predictions_created += 1
        self.predictions_by_account[prediction.account] += 1
        self.predictions_by_job.update(find_jobs(prediction, job_parameters))

    def count_stream(self, headers: Mapping[str, str]) -> None:
        """Count the request of a stream if it carries a credential, which Replicate must not get."""
        self.streams_with_credentials += "authorization" in headers or "cookie" in headers

    def build_report(self) -> dict[str, Any]:
        """Return the counts as JSON."""
        return {
            "predictions_created": self.predictions_created,
            "predictions_by_job": dict(self.predictions_by_job),
            "predictions_by_account": dict(self.predictions_by_account),
            "requests": dict(self.requests),
            "responses": dict(self.responses),
            "third_party_downloads": self.third_party_downloads,
            "streams_with_credentials": self.streams_with_credentials,
            "webhooks_sent": self.webhooks_sent,
            "webhooks_acknowledged": self.webhooks_acknowledged,
        }
