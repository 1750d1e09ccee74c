"""The body of the notify queue's messages. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from replicate_proxy.errors import PermanentError

if TYPE_CHECKING:
    from replicate_proxy.webhooks.model import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverCommand:
    """Attempt this delivery now if it is due. Ids only; `lane` is the message group for fair queueing."""

    tenant: str
    job_id: str
    sequence: int
    target: str
    lane: str = ""
    correlation_id: str = ""

    @classmethod
    def of(cls, delivery: Delivery) -> DeliverCommand:
        return cls(
            tenant=delivery.tenant,
            job_id=delivery.job_id,
            sequence=delivery.sequence,
            target=delivery.target,
            lane=delivery.lane,
            correlation_id=delivery.correlation_id,
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DeliverCommand:
        """Raises PermanentError where the text is not such a command."""
        try:
            fields = json.loads(text)
            return cls(
                tenant=str(fields["tenant"]),
                job_id=str(fields["job_id"]),
                sequence=int(fields["sequence"]),
                target=str(fields["target"]),
                lane=str(fields.get("lane", "")),
                correlation_id=str(fields.get("correlation_id", "")),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise PermanentError(f"not a deliver command: {type(error).__name__}") from error
