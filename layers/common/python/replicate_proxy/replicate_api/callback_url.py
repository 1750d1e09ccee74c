"""The URL that Replicate calls about a prediction: it names the job and is signed with our key. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from replicate_proxy import signing
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account

if TYPE_CHECKING:
    from collections.abc import Mapping


_MAX_ATTEMPT_DIGITS = 4


@dataclass(frozen=True, slots=True)
class AttemptReference:
    """One attempt of one job, as the callback URL names it.

    `replicate_account` is the tenant's own account in which it runs, whose secret signs the webhook.
    """

    tenant: str
    job_id: str
    attempt: int
    correlation_id: str = ""
    replicate_account: str = ""

    @property
    def account(self) -> Account:
        return Account(self.tenant, self.replicate_account) if self.replicate_account else SHARED_ACCOUNT


class CallbackUrls:
    """Builds and verifies callback URLs.

    Replicate keeps query parameters and recommends them for the caller's own IDs (Replicate docs, webhooks).
    """

    def __init__(self, base_url: str, root_secret: bytes) -> None:
        self._base_url = base_url
        self._key = signing.derive_key(root_secret, "replicate-webhook-url")

    def build_url(self, attempt: AttemptReference) -> str:
        query = {
            "tenant": attempt.tenant,
            "job": attempt.job_id,
            "attempt": str(attempt.attempt),
            "correlation": attempt.correlation_id,
            **({"account": attempt.replicate_account} if attempt.replicate_account else {}),
            "sig": signing.sign(self._key, *_get_signed_parts(attempt)),
        }
        return f"{self._base_url}/webhooks/replicate?{urlencode(query)}"

    def parse_query(self, query: Mapping[str, str]) -> AttemptReference | None:
        """Return the attempt that the parameters name, or None if they do not carry our signature."""
        number = query.get("attempt", "")
        if not number.isascii() or not number.isdigit() or len(number) > _MAX_ATTEMPT_DIGITS:
            return None
        attempt = AttemptReference(
            query.get("tenant", ""),
            query.get("job", ""),
            int(number),
            query.get("correlation", ""),
            query.get("account", ""),
        )
        is_ours = signing.verify(self._key, query.get("sig", ""), *_get_signed_parts(attempt))
        return attempt if is_ours else None

    def parse_url(self, url: str | None) -> AttemptReference | None:
        """Return the attempt that a whole URL names, as Replicate echoes it with a prediction."""
        try:
            query = parse_qs(urlsplit(url or "").query)
        except ValueError:
            # Predictions of other software in the account may have any text as their webhook.
            return None
        return self.parse_query({name: values[0] for name, values in query.items()})


def _get_signed_parts(attempt: AttemptReference) -> tuple[str, ...]:
    parts = (attempt.tenant, attempt.job_id, str(attempt.attempt), attempt.correlation_id)
    return (*parts, attempt.replicate_account) if attempt.replicate_account else parts
