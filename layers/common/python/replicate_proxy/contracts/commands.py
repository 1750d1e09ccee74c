"""Bodies of the dispatch queue's messages, in the imperative. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from replicate_proxy.errors import PermanentError


class DispatchKind(StrEnum):
    """What the dispatcher shall do with the job."""

    SUBMIT = "submit"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class DispatchCommand:
    """Submit the job to Replicate, or cancel its prediction there. Carries ids only, so that it never goes
    stale.
    """

    kind: DispatchKind
    tenant: str
    job_id: str
    correlation_id: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> DispatchCommand:
        """Raises PermanentError where the text is not such a command."""
        try:
            fields = json.loads(text)
            return cls(
                kind=DispatchKind(fields["kind"]),
                tenant=str(fields["tenant"]),
                job_id=str(fields["job_id"]),
                correlation_id=str(fields.get("correlation_id", "")),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise PermanentError(f"not a dispatch command: {type(error).__name__}") from error
