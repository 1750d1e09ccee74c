"""The messages of the notify queue. No I/O."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from replicate_proxy.errors import PermanentError

if TYPE_CHECKING:
    from replicate_proxy.webhooks.model import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverCommand:
    """Attempt this delivery now if it is due.

    It holds only IDs: the deliverer reads the delivery's current record. `receiver_id` decides on the message
    group among those of the tenant, which keep the queue fair.
    """

    tenant: str
    job_id: str
    sequence: int
    target: str
    receiver_id: str = ""
    correlation_id: str = ""

    @classmethod
    def for_delivery(cls, delivery: Delivery) -> DeliverCommand:
        return cls(
            tenant=delivery.tenant,
            job_id=delivery.job_id,
            sequence=delivery.sequence,
            target=delivery.target,
            receiver_id=delivery.receiver_id,
            correlation_id=delivery.correlation_id,
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DeliverCommand:
        """Parse a message body. Raises PermanentError if it is not a deliver command."""
        try:
            fields = json.loads(text)
            return cls(
                tenant=str(fields["tenant"]),
                job_id=str(fields["job_id"]),
                sequence=int(fields["sequence"]),
                target=str(fields["target"]),
                receiver_id=str(fields.get("receiver_id", "")),
                correlation_id=str(fields.get("correlation_id", "")),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise PermanentError(f"the message is not a deliver command: {type(error).__name__}") from error
