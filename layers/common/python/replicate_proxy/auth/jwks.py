"""The identity provider's public keys (RFC 7517), cached.

Keys are fetched again when they are old, and when a token names a key that is not among them, since that is
what a key rotation looks like; at most once per `refresh_seconds`, so that invented key ids cost nothing.
While the provider cannot be reached, keys fetched within `grace_seconds` go on being used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import jwt
import requests

from replicate_proxy.auth.errors import UnauthenticatedError
from replicate_proxy.errors import ConfigurationError, RetryableError
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from replicate_proxy.ports import Clock

__all__ = ["JwksClient", "JwksSettings"]

_TIMEOUT_SECONDS = (2, 3)
_LARGEST = 256 * 1024


@dataclass(frozen=True)
class JwksSettings:
    """Where the keys are; how long they are fresh, kept between refreshes, and good without the provider.

    `allow_loopback` takes http on 127.0.0.1 too, for the local stack.
    """

    url: str
    fresh_seconds: float = 3600
    refresh_seconds: float = 60
    grace_seconds: float = 6 * 3600
    allow_loopback: bool = False

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        local = self.allow_loopback and (address.scheme, address.hostname) == ("http", "127.0.0.1")
        if not address.hostname or (address.scheme != "https" and not local):
            raise ConfigurationError("JWKS_URL is not an https address")


class JwksClient:
    """Gives the key that a token names."""

    def __init__(self, settings: JwksSettings, *, session: requests.Session, clock: Clock) -> None:
        self._settings = settings
        self._session = session
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._failed = False

    def key(self, kid: str) -> jwt.PyJWK:
        """Raises UnauthenticatedError where there is no such key, RetryableError where nobody can tell."""
        if kid not in self._keys or self._age(self._fetched_at) > self._settings.fresh_seconds:
            self._refresh()
        found = self._keys.get(kid)
        usable = self._age(self._fetched_at) <= self._settings.grace_seconds
        if found is not None and usable:
            return found
        if self._failed or not usable:
            raise RetryableError("the identity provider's keys cannot be fetched")
        raise UnauthenticatedError("the token names a key that its issuer does not have")

    def _age(self, moment: datetime | None) -> float:
        return float("inf") if moment is None else (self._clock.now() - moment) / timedelta(seconds=1)

    def _refresh(self) -> None:
        if self._age(self._tried_at) < self._settings.refresh_seconds:
            return
        self._tried_at = self._clock.now()
        try:
            self._keys = _signing_keys(self._fetch())
        except (requests.RequestException, ValueError, jwt.PyJWTError) as error:
            self._failed = True
            logger.warning("the identity provider's keys could not be fetched", reason=type(error).__name__)
            count(Metric.AUTH_DEGRADED)
        else:
            self._failed = False
            self._fetched_at = self._tried_at

    def _fetch(self) -> bytes:
        """The provider's answer; a redirect is none, since it can lead anywhere."""
        with self._session.get(
            self._settings.url, timeout=_TIMEOUT_SECONDS, allow_redirects=False, stream=True
        ) as response:
            if response.status_code != requests.codes.ok:
                raise ValueError("the provider has no key set here")
            body = b""
            for chunk in response.iter_content(64 * 1024):
                body += chunk
                if len(body) > _LARGEST:
                    raise ValueError("the key set is too large")
        return body


def _signing_keys(body: bytes) -> dict[str, jwt.PyJWK]:
    loaded = json.loads(body)
    entries = loaded.get("keys") if isinstance(loaded, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("this is no key set")
    keys = jwt.PyJWKSet.from_dict({"keys": entries}).keys
    return {key.key_id: key for key in keys if key.key_id and key.public_key_use in {None, "sig"}}
