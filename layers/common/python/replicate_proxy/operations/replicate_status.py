"""What is known about Replicate, for each account: breaker, rate limits, token, webhook secret, errors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ConfigurationError, ProxyError
from replicate_proxy.jobs.job_filter import JobFilter
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account, JobStatus
from replicate_proxy.observability import logger
from replicate_proxy.replicate_api.errors import RejectedError, TokenRejectedError
from replicate_proxy.timed_cache import TimedCache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.accounts.directory import AccountStore
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.operations.job_search import JobSearch
    from replicate_proxy.operations.ports import BreakerControl
    from replicate_proxy.ports import Clock
    from replicate_proxy.replicate_api.rate_limit import RateLimitState

_MAX_ACCOUNTS = 50
_MAX_ERRORS = 5
_PARALLEL_READS = 8
# How long the result of asking Replicate about a token is shown.
_CHECK_SECONDS = 60.0
_CLOSED = "closed"


class TokenState(StrEnum):
    """Whether Replicate accepts the token of an account."""

    VALID = "valid"
    REJECTED = "rejected"
    # There is none, or it cannot be read.
    MISSING = "missing"
    # Replicate could not be asked.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """What Replicate said about a token; `name` is that of its account, `reason` why it is not valid."""

    state: TokenState
    checked_at: datetime
    name: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """The state of one account. What could not be read is None."""

    account: Account
    breaker: Mapping[str, Any] | None
    creates: RateLimitState | None
    reads: RateLimitState | None
    token: TokenCheck
    webhook_secret_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReplicateStatus:
    """The state of all accounts, the shared one first, and the predictions that failed last."""

    accounts: tuple[AccountStatus, ...]
    is_complete: bool
    last_failed: tuple[Job, ...]


class AccountReader(Protocol):
    """What is stored about one account at Replicate, and a client for its token."""

    def read_creates(self) -> RateLimitState: ...

    def read_reads(self) -> RateLimitState: ...

    def get_name(self) -> str:
        """Ask Replicate for the name of the token's account. Raises ProxyError."""
        ...

    def read_webhook_secret_time(self) -> datetime | None:
        """Return when the webhook secret was stored, None without one."""
        ...


class ReplicateStatusService:
    """Collects the state of the accounts. Each account's token is tried at most once a minute."""

    def __init__(
        self,
        *,
        accounts: AccountStore,
        get_reader: Callable[[Account], AccountReader],
        get_breaker: Callable[[Account], BreakerControl],
        search: JobSearch,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._get_reader = get_reader
        self._get_breaker = get_breaker
        self._search = search
        self._clock = clock
        self._checks: TimedCache[TokenCheck] = TimedCache(_MAX_ACCOUNTS)

    def read(self) -> ReplicateStatus:
        """Return the state of the shared account and of those of tenants, the first fifty by name."""
        owned = [
            Account(tenant, accounts.current.name)
            for tenant, accounts in sorted(self._accounts.read().items())
            if accounts.current is not None
        ]
        shown = [SHARED_ACCOUNT, *owned][:_MAX_ACCOUNTS]
        with ThreadPoolExecutor(_PARALLEL_READS) as executor:
            failed = executor.submit(self._list_failed)
            statuses = tuple(executor.map(self.read_account, shown))
        return ReplicateStatus(statuses, len(shown) == len(owned) + 1, tuple(failed.result()))

    def read_account(self, account: Account) -> AccountStatus:
        """Return the state of one account."""
        reader = self._get_reader(account)
        breaker = _read("breaker", self._get_breaker(account).describe)
        return AccountStatus(
            account,
            breaker,
            _read("rate limit", reader.read_creates),
            _read("rate limit", reader.read_reads),
            self._check_token(account, reader, breaker),
            _read("webhook secret", reader.read_webhook_secret_time),
        )

    def _check_token(
        self, account: Account, reader: AccountReader, breaker: Mapping[str, Any] | None
    ) -> TokenCheck:
        key = account.qualify("token")
        known = self._checks.find_fresh(key)
        if known is not None:
            return known
        if breaker is not None and breaker["state"] != _CLOSED:
            return self._assume(self._checks.find(key), breaker["state"])
        check = self._ask(reader)
        self._checks.put(key, check, _CHECK_SECONDS)
        return check

    def _assume(self, last: TokenCheck | None, breaker_state: str) -> TokenCheck:
        """Return what is known while Replicate cannot be asked: a bad token may be replaced since."""
        if last is not None and last.state is TokenState.VALID:
            return last
        reason = f"the circuit breaker is {breaker_state}"
        if last is not None:
            reason += f"; {last.state.value} at {format_timestamp(last.checked_at)}"
        return TokenCheck(TokenState.UNKNOWN, self._clock.now(), reason=reason)

    def _ask(self, reader: AccountReader) -> TokenCheck:
        now = self._clock.now()
        try:
            return TokenCheck(TokenState.VALID, now, name=reader.get_name())
        except (TokenRejectedError, RejectedError) as error:
            return TokenCheck(TokenState.REJECTED, now, reason=str(error))
        except ConfigurationError as error:
            return TokenCheck(TokenState.MISSING, now, reason=str(error))
        except ProxyError as error:
            return TokenCheck(TokenState.UNKNOWN, now, reason=str(error))

    def _list_failed(self) -> Sequence[Job]:
        newest = JobFilter(statuses=frozenset({JobStatus.FAILED}))
        page = _read("failed jobs", lambda: self._search.search(newest, before_id=None, limit=_MAX_ERRORS))
        return page.jobs if page is not None else ()


def describe_rate_limit(state: RateLimitState | None) -> dict[str, Any] | None:
    """Return the rate limit as JSON."""
    if state is None:
        return None
    return {
        "limit_per_minute": state.limit_per_minute,
        "burst": state.burst,
        "remaining": state.remaining,
        "retry_at": format_timestamp(state.retry_at) if state.retry_at else None,
        "reduced_until": format_timestamp(state.reduced_until) if state.reduced_until else None,
    }


def _read[Value](part: str, read: Callable[[], Value]) -> Value | None:
    try:
        return read()
    except ProxyError as error:
        logger.warning("part of the status not read", part=part, reason=str(error))
        return None
