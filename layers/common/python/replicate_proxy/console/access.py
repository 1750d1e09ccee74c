"""Sign-in to the console, the check of a session with each request, and links that open a view.

A key is checked by the authorizer of the API, and a session against the present state of its key: it ends
when the key is revoked, expires, loses the secret that signed in, or does not allow the address.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.audit.actor import acting_as
from replicate_proxy.audit.model import Actor, AuditAction, AuditSource
from replicate_proxy.auth.errors import DeniedError, UnauthenticatedError
from replicate_proxy.auth.ip_ranges import is_ip_allowed
from replicate_proxy.auth.keys import ApiKeySecret, KeyStatus
from replicate_proxy.auth.principal import Scope
from replicate_proxy.console.session import (
    SESSION_LIFETIME,
    VIEW_LIFETIME,
    Session,
    build_proof,
    decode_session,
    has_valid_secret,
)
from replicate_proxy.console.viewer import Viewer
from replicate_proxy.errors import ApiError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.auth.authorizer import Authorizer
    from replicate_proxy.auth.keys import ApiKey
    from replicate_proxy.auth.ports import KeyLookup
    from replicate_proxy.ports import Clock

_READABLE = frozenset({Scope.ADMIN, Scope.PREDICTIONS_READ})
_RETRY_AFTER_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInLink:
    """What a link opens: the view of one tenant, or with None the session of the key that made it."""

    key_id: str
    proof: str
    tenant: str | None
    valid_until: datetime


class LinkStore(Protocol):
    """Links by the hash of their token."""

    def create(self, token_hash: str, link: SignInLink) -> None: ...

    def consume(self, token_hash: str, now: datetime) -> SignInLink | None:
        """Return the link and use it up; None if there is none, or it was used, or is not valid any more."""
        ...


class SignInLimiter(Protocol):
    """Limits how often an address may try to sign in."""

    def allow(self, source_ip: str) -> bool: ...


class ConsoleAccess:
    """`load_signing_key` returns the key that signs sessions, `load_digest_key` that of API keys' digests."""

    def __init__(
        self,
        *,
        authorizer: Authorizer,
        keys: KeyLookup,
        links: LinkStore,
        limiter: SignInLimiter,
        load_signing_key: Callable[[], bytes],
        load_digest_key: Callable[[], bytes],
        clock: Clock,
        audit: AuditLog,
    ) -> None:
        self._authorizer = authorizer
        self._keys = keys
        self._links = links
        self._limiter = limiter
        self._load_signing_key = load_signing_key
        self._load_digest_key = load_digest_key
        self._clock = clock
        self._audit = audit

    def sign_in(self, credential: str, source_ip: str) -> Session:
        """Return a session of the API key. Raises a 401, 403 or 429 ApiError that says what to do."""
        self._check_rate(source_ip)
        secret = ApiKeySecret.parse(credential.strip())
        if secret is None:
            raise ApiError(401, "Not an API key", "An API key begins with rp_ and has 59 characters")
        try:
            caller = self._authorizer.authorize(f"Bearer {secret}", source_ip)
        except UnauthenticatedError as error:
            raise ApiError(
                401, "Unknown key", "The API key is unknown or revoked. Check it, or use another one"
            ) from error
        except DeniedError as error:
            raise ApiError(403, "Key not allowed", f"{error}. Use another key") from error
        if not caller.principal.scopes & _READABLE:
            detail = "The key may read nothing here: it needs the scope predictions:read or admin"
            raise ApiError(403, "Key not allowed", detail)
        proof = build_proof(self._load_signing_key(), secret.compute_digest(self._load_digest_key()))
        logger.info("signed in to the console", key_id=secret.key_id)
        return Session.start(secret.key_id, proof, now=self._clock.now(), lifetime=SESSION_LIFETIME)

    def encode(self, session: Session) -> str:
        return session.encode(self._load_signing_key())

    def find_viewer(self, cookie: str, source_ip: str) -> Viewer | None:
        """Return who the cookie of a request stands for, None if its session has ended."""
        if not cookie:
            return None
        now, signing_key = self._clock.now(), self._load_signing_key()
        session = decode_session(cookie, signing_key, now)
        key = self._find_key(session.key_id, session.proof, source_ip) if session is not None else None
        if session is None or key is None:
            return None
        scopes, tenant = frozenset(key.scopes), session.tenant
        if tenant is not None:
            if Scope.ADMIN not in scopes:
                return None
            scopes = frozenset({Scope.PREDICTIONS_READ})
        elif not scopes & _READABLE:
            return None
        return Viewer(
            session=session,
            key_id=key.id,
            key_name=key.name,
            csrf_token=session.build_csrf_token(signing_key),
            scopes=scopes,
            tenant=tenant or (None if Scope.ADMIN in scopes else key.tenant),
            models=key.allowed_models,
            has_budget=key.has_budget,
            expires_at=datetime.fromtimestamp(session.expires_at, UTC),
        )

    def is_csrf_token(self, viewer: Viewer, token: str) -> bool:
        return viewer.session.is_csrf_token(self._load_signing_key(), token)

    def create_link(self, viewer: Viewer, tenant: str) -> str:
        """Return the token of a link that opens the tenant's view once. Requires an operator."""
        viewer.require_operator()
        with self._audit.change(AuditAction.CREATE_CONSOLE_LINK, f"tenants/{tenant}", tenant=tenant):
            return issue_link(
                self._links,
                SignInLink(
                    key_id=viewer.key_id,
                    proof=viewer.session.proof,
                    tenant=tenant,
                    valid_until=self._clock.now() + VIEW_LIFETIME,
                ),
            )

    def open_link(self, token: str, source_ip: str) -> Session:
        """Return the session that a link opens. Raises a 401 or 429 ApiError."""
        self._check_rate(source_ip)
        now = self._clock.now()
        link = self._links.consume(_hash(token), now)
        if link is None or self._find_key(link.key_id, link.proof, source_ip) is None:
            detail = "The link was used before, or is too old. Ask for another one"
            raise ApiError(401, "Link not valid", detail)
        lifetime = SESSION_LIFETIME if link.tenant is None else VIEW_LIFETIME
        session = Session.start(link.key_id, link.proof, now=now, lifetime=lifetime, tenant=link.tenant)
        actor = Actor(key_id=link.key_id, source=AuditSource.CONSOLE)
        target = "console" if link.tenant is None else f"tenants/{link.tenant}"
        with (
            acting_as(actor),
            self._audit.change(AuditAction.OPEN_CONSOLE_LINK, target, tenant=link.tenant) as change,
        ):
            change.after = {"expires_at": session.expires_at}
        return session

    def _find_key(self, key_id: str, proof: str, source_ip: str) -> ApiKey | None:
        """Return the key while it is valid, has the secret of the proof, and allows the address."""
        key, now = self._keys.get(key_id), self._clock.now()
        if key is None or key.get_status(now) is not KeyStatus.VALID:
            return None
        if key.allowed_ips and not is_ip_allowed(source_ip, key.allowed_ips):
            return None
        return key if has_valid_secret(key, proof, self._load_signing_key(), now) else None

    def _check_rate(self, source_ip: str) -> None:
        if not self._limiter.allow(source_ip):
            detail = "There were too many attempts from this address. Wait a minute"
            raise ApiError(429, "Too many attempts", detail, retry_after=_RETRY_AFTER_SECONDS)


def issue_link(links: LinkStore, link: SignInLink) -> str:
    """Store a new link and return its token."""
    token = secrets.token_urlsafe(32)
    links.create(_hash(token), link)
    return token


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
