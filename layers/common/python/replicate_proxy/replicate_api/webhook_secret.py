"""Copy the webhook signing secret of a Replicate account to the parameter that the webhook function reads.

All secrets in the parameter are valid. A new one is added to the earlier ones, so that webhooks which
Replicate signed with an earlier secret and still retries are accepted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.errors import PermanentError
from replicate_proxy.observability import logger
from replicate_proxy.signing import decode_webhook_secret

if TYPE_CHECKING:
    from collections.abc import Callable


_MAX_VALID_SECRETS = 3
_SEPARATORS = re.compile(r"[\s,]+")


class SecretParameter(Protocol):
    """The stored secrets, as one text."""

    def read(self) -> str:
        """Return the text, empty if the parameter does not exist yet."""

    def write(self, text: str) -> None: ...


@dataclass(frozen=True)
class RefreshResult:
    """Whether the secret was new, and how many are valid."""

    changed: bool
    valid_count: int


class WebhookSecretRefresher:
    """Keeps the parameter up to date.

    `fetch` reads the current secret from Replicate (OpenAPI document, webhooks.default.secret.get).
    """

    def __init__(self, fetch: Callable[[], str], parameter: SecretParameter) -> None:
        self._fetch = fetch
        self._parameter = parameter

    def refresh(self) -> RefreshResult:
        """Put a new secret first, and drop the oldest if there are more than three.

        Raises PermanentError if Replicate's response is not a secret, so that it displaces no valid one.
        """
        current = self._fetch().strip()
        try:
            decode_webhook_secret(current)
        except ValueError as error:
            raise PermanentError("Replicate returned an invalid webhook secret") from error
        stored = [part for part in _SEPARATORS.split(self._parameter.read()) if part]
        if current in stored:
            return RefreshResult(changed=False, valid_count=len(stored))
        valid = [current, *stored][:_MAX_VALID_SECRETS]
        self._parameter.write(" ".join(valid))
        logger.info("webhook secret added", valid_count=len(valid))
        return RefreshResult(changed=True, valid_count=len(valid))
