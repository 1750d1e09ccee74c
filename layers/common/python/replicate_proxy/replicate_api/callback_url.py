"""The webhook URL we give Replicate: it names the job and proves that we made it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from replicate_proxy import signing

if TYPE_CHECKING:
    from collections.abc import Mapping


_MOST_DIGITS = 4


@dataclass(frozen=True, slots=True)
class JobReference:
    """One attempt of one job."""

    tenant: str
    job_id: str
    attempt: int
    correlation_id: str = ""


class WebhookUrls:
    """Writes and reads them. Replicate keeps query parameters and recommends them for own ids (docs,
    webhooks).
    """

    def __init__(self, base_url: str, root_secret: bytes) -> None:
        self._base_url = base_url
        self._key = signing.derive_key(root_secret, "replicate-webhook-url")

    def make(self, job: JobReference) -> str:
        query = {
            "tenant": job.tenant,
            "job": job.job_id,
            "attempt": str(job.attempt),
            "correlation": job.correlation_id,
            "sig": self._signature(job),
        }
        return f"{self._base_url}/webhooks/replicate?{urlencode(query)}"

    def read(self, query: Mapping[str, str]) -> JobReference | None:
        """The job that the parameters name, None where they are not ours."""
        attempt = query.get("attempt", "")
        if not attempt.isascii() or not attempt.isdigit() or len(attempt) > _MOST_DIGITS:
            return None
        job = JobReference(
            query.get("tenant", ""), query.get("job", ""), int(attempt), query.get("correlation", "")
        )
        return job if signing.verify(self._key, query.get("sig", ""), *_parts(job)) else None

    def read_url(self, url: str | None) -> JobReference | None:
        """The same from a whole URL, as Replicate echoes it."""
        query = parse_qs(urlsplit(url or "").query)
        return self.read({name: values[0] for name, values in query.items()})

    def _signature(self, job: JobReference) -> str:
        return signing.sign(self._key, *_parts(job))


def _parts(job: JobReference) -> tuple[str, ...]:
    return job.tenant, job.job_id, str(job.attempt), job.correlation_id
