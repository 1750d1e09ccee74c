"""Makes the first key of a deployment, which then makes all others through the admin API.

    python -m tools.cli.first_admin_key --table TABLE --secret-arn ARN [--tenant operator]
        [--api-id ID --stage STAGE --usage-plan-prefix STACK]     where the stage has usage plans

Whoever may run this already holds the AWS rights to write the access table and to read the signing secret.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from replicate_proxy import signing
from replicate_proxy.auth.keys import ApiKey, ApiKeySecret, UsageLimits
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from replicate_proxy.aws.api_gateway import ApiGateway
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.clock import SystemClock
from replicate_proxy.operations.ports import Stage
from replicate_proxy.operations.usage_plans import UsageAssignment, UsagePlanKeys

if TYPE_CHECKING:
    from datetime import timedelta

    from replicate_proxy.auth.ports import KeyStore
    from replicate_proxy.ports import Clock


_OPERATORS_LIMITS = UsageLimits(rate=10, burst=20)


def create_first_admin_key(
    store: KeyStore,
    root_secret: str,
    clock: Clock,
    *,
    tenant: str = "operator",
    name: str = "first admin key",
    lifetime: timedelta | None = None,
    usage: UsageAssignment | None = None,
) -> ApiKeySecret:
    """Stores a key with every scope and gives its text, which cannot be had again.

    `seat` is its place in a usage plan, where API Gateway counts callers and would refuse one without.
    """
    now = clock.now()
    text = ApiKeySecret.generate()
    store.create(
        ApiKey(
            id=text.key_id,
            tenant=tenant,
            digest=text.compute_digest(signing.derive_key(root_secret.encode(), "api-keys")),
            created_at=now,
            name=name,
            scopes=DEFAULT_SCOPES | {Scope.ADMIN},
            expires_at=now + lifetime if lifetime else None,
            limits=usage.limits if usage else None,
            usage_key_id=usage.usage_key_id if usage else None,
            usage_key=usage.usage_key if usage else None,
        )
    )
    return text


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.cli.first_admin_key", description=__doc__)
    parser.add_argument("--table", required=True, help="the access table (stack output AccessTableName)")
    parser.add_argument(
        "--secret-arn", required=True, help="the signing secret (stack output SigningSecretArn)"
    )
    parser.add_argument("--tenant", default="operator")
    parser.add_argument("--name", default="first admin key")
    parser.add_argument("--api-id", help="with usage plans: the stack output ApiId")
    parser.add_argument("--stage", default="prod")
    parser.add_argument("--usage-plan-prefix", default="replicate-proxy", help="the stack's name")
    options = parser.parse_args(arguments)
    root = get_client("secretsmanager").get_secret_value(SecretId=options.secret_arn)["SecretString"]
    store = DynamoKeyStore(get_client("dynamodb"), options.table)
    text = create_first_admin_key(
        store, root, SystemClock(), tenant=options.tenant, name=options.name, usage=_seat(options)
    )
    sys.stdout.write(f"{text}\n")


def _seat(options: argparse.Namespace) -> UsageAssignment | None:
    if not options.api_id:
        return None
    gateway = ApiGateway(get_client("apigateway"), prefix=options.usage_plan_prefix)
    stage = Stage(options.api_id, options.stage)
    return UsagePlanKeys(gateway, default_limits=_OPERATORS_LIMITS).assign(
        f"{options.tenant}-first", None, stage
    )


if __name__ == "__main__":
    main(sys.argv[1:])
