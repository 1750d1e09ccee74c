"""Access to Replicate: clients, rate limits, circuit breakers and secrets, by account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.accounts.directory import AccountDirectory
from replicate_proxy.accounts.per_account import PerAccount
from replicate_proxy.aws.account_store import DynamoAccountStore
from replicate_proxy.aws.secrets import SecretReader
from replicate_proxy.input_schemas.known_schemas import KnownSchemas
from replicate_proxy.jobs.model import SHARED_ACCOUNT
from replicate_proxy.replicate_api.circuit_breaker import CircuitBreaker
from replicate_proxy.replicate_api.client import ReplicateClient
from replicate_proxy.replicate_api.connection import open_session
from replicate_proxy.replicate_api.known_models import KnownModels, NothingKnown
from replicate_proxy.replicate_api.predictions import UpstreamPredictionReader
from replicate_proxy.replicate_api.rate_limit import RateLimit, RateLimiter
from replicate_proxy.replicate_api.retry import Retry, RetryingClient
from tools.simulation.accounts import SHARED_TOKEN
from tools.simulation.replicate_adapter import ReplicateAdapter

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.model import Account
    from tools.simulation.functions.components import Components


def name_token(account: Account) -> str:
    return f"/simulation/tenant-tokens/{account.tenant}/{account.name}"


def name_secret(account: Account) -> str:
    return f"/simulation/tenant-webhook-secrets/{account.tenant}/{account.name}"


def build_account_finder(components: Components) -> Callable[[str], Account]:
    if not components.features.has_own_accounts:
        return lambda _tenant: SHARED_ACCOUNT
    store = DynamoAccountStore(components.control_table())
    return AccountDirectory(store, monotonic=lambda: components.scheduler.now).find


def build_secret_reader(components: Components) -> SecretReader:
    return SecretReader(components.aws.client("ssm"), monotonic=lambda: components.scheduler.now)


def build_client(components: Components, account: Account) -> RetryingClient:
    reader = build_secret_reader(components)

    def get_token(refresh: bool) -> str:
        return SHARED_TOKEN if account.is_shared else reader.get(name_token(account), refresh=refresh)

    return RetryingClient(build_replicate_client(components, get_token), Retry())


def build_replicate_client(components: Components, get_token: Callable[[bool], str]) -> ReplicateClient:
    session = open_session()
    session.trust_env = False
    session.mount("https://", ReplicateAdapter(components.scheduler, components.replicate, components.plan))
    return ReplicateClient(session, "https://api.replicate.test", get_token)


def build_limiters(
    components: Components, name: str, limit: RateLimit, *, reserve: int = 0
) -> PerAccount[RateLimiter]:
    table = components.control_table()
    return PerAccount(
        lambda account: RateLimiter(table, account.qualify(name), limit, components.clock, reserve=reserve)
    )


def build_readers(components: Components) -> PerAccount[UpstreamPredictionReader]:
    limiters = build_limiters(components, "reads", RateLimit(2400, 200))
    return PerAccount(
        lambda account: UpstreamPredictionReader(
            build_client(components, account),
            build_breaker(components, account),
            limiters.of(account),
            components.scheduler.sleep,
        )
    )


def build_breaker(components: Components, account: Account = SHARED_ACCOUNT) -> CircuitBreaker:
    return CircuitBreaker(components.control_table(), components.clock, account=account)


def build_known_models(components: Components) -> KnownModels | NothingKnown:
    if not components.plan.streams_enabled:
        return NothingKnown()
    return KnownModels(
        components.control_table(), components.clock, monotonic=lambda: components.scheduler.now
    )


def build_schemas(components: Components) -> KnownSchemas:
    return KnownSchemas(
        components.control_table(), components.clock, monotonic=lambda: components.scheduler.now
    )
