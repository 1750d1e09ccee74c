"""The client with another try where that is safe, all within one budget of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.replicate_api.errors import ThrottledError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.replicate_api.client import ReplicateClient
    from replicate_proxy.replicate_api.models import CreateTarget, PredictionPage, UpstreamPrediction
    from replicate_proxy.replicate_api.reply import Reply
    from replicate_proxy.replicate_api.retry import Retry

__all__ = ["RetryingClient"]


@dataclass(frozen=True, slots=True)
class RetryingClient:
    """Offers what `ReplicateClient` offers, with the same errors, once the tries or the time are used up."""

    client: ReplicateClient
    retry: Retry

    def create(
        self, target: CreateTarget, body: Mapping[str, Any], *, cancel_after_seconds: int | None = None
    ) -> UpstreamPrediction:
        """Sent again only where it certainly was not accepted, for an unknown outcome is no RetryableError.

        A throttled create is not tried again here: it waits better in a queue than in a running function.
        """
        return self.retry.call(
            lambda budget: self.client.create(
                target, body, cancel_after_seconds=cancel_after_seconds, budget=budget
            ),
            never=(ThrottledError,),
        )

    def get(self, prediction_id: str) -> UpstreamPrediction:
        return self.retry.call(lambda budget: self.client.get(prediction_id, budget=budget))

    def cancel(self, prediction_id: str) -> UpstreamPrediction:
        return self.retry.call(lambda budget: self.client.cancel(prediction_id, budget=budget))

    def list(
        self,
        *,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        cursor: str | None = None,
    ) -> PredictionPage:
        return self.retry.call(
            lambda budget: self.client.list(
                created_after=created_after, created_before=created_before, cursor=cursor, budget=budget
            )
        )

    def webhook_secret(self) -> str:
        return self.retry.call(lambda budget: self.client.webhook_secret(budget=budget))

    def read(self, path: str, query: Mapping[str, str] | None = None) -> Reply:
        return self.retry.call(lambda budget: self.client.read(path, query, budget=budget))
