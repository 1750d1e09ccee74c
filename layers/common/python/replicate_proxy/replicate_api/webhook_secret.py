"""Replicate's webhook signing secret, kept up to date in the parameter that the webhook function reads.

All secrets in the parameter are live, so a new one is put beside the ones before it: webhooks that
Replicate signed with the old one and is still repeating keep arriving.
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


_MOST = 3
_SEPARATORS = re.compile(r"[\s,]+")


class SecretParameter(Protocol):
    """Where the secrets lie."""

    def read(self) -> str:
        """Empty where there is no such parameter yet."""

    def write(self, text: str) -> None: ...


@dataclass(frozen=True)
class RefreshResult:
    """Whether the secret was new, and how many are live."""

    changed: bool
    live: int


class WebhookSecretRefresher:
    """`fetch` asks Replicate (OpenAPI document, webhooks.default.secret.get)."""

    def __init__(self, fetch: Callable[[], str], parameter: SecretParameter) -> None:
        self._fetch = fetch
        self._parameter = parameter

    def refresh(self) -> RefreshResult:
        """Puts a new secret first; the oldest beyond three is dropped. Repeating it changes nothing.

        Raises PermanentError where Replicate's answer is no secret, so that a good one is never pushed out
        by it.
        """
        current = self._fetch().strip()
        try:
            decode_webhook_secret(current)
        except ValueError as error:
            raise PermanentError("Replicate's webhook secret is not readable") from error
        known = [part for part in _SEPARATORS.split(self._parameter.read()) if part]
        if current in known:
            return RefreshResult(changed=False, live=len(known))
        live = [current, *known][:_MOST]
        self._parameter.write(" ".join(live))
        logger.info("new webhook secret taken over", live=len(live))
        return RefreshResult(changed=True, live=len(live))
