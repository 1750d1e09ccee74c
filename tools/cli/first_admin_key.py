"""Create the first API key of a deployment, with which all others are created through the admin API.

    .venv/bin/python -m tools.cli.first_admin_key --table TABLE --secret-arn ARN

If the stage has usage plans, add `--api-id ID --stage STAGE --usage-plan-prefix STACK`. It requires AWS
permissions to write the access table and to read the signing secret.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from proxyctl.terminal import run_tool
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
    from collections.abc import Collection, Sequence

    from replicate_proxy.auth.ports import KeyStore
    from replicate_proxy.ports import Clock


_ADMIN_LIMITS = UsageLimits(rate=10, burst=20)
_NO_USAGE = UsageAssignment()


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse_arguments(arguments)
    secret = issue_key(
        DynamoKeyStore(get_client("dynamodb"), options.table),
        get_client("secretsmanager").get_secret_value(SecretId=options.secret_arn)["SecretString"],
        SystemClock(),
        tenant=options.tenant,
        name=options.name,
        scopes=DEFAULT_SCOPES | {Scope.ADMIN},
        usage=_assign_usage_key(options),
    )
    sys.stdout.write(f"{secret}\n")
    return 0


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m tools.cli.first_admin_key",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--table", required=True, help="the access table (stack output AccessTableName)")
    parser.add_argument(
        "--secret-arn", required=True, help="the signing secret (stack output SigningSecretArn)"
    )
    parser.add_argument("--tenant", default="operator")
    parser.add_argument("--name", default="first admin key")
    parser.add_argument("--api-id", help="with usage plans: the stack output ApiId")
    parser.add_argument("--stage", default="prod")
    parser.add_argument("--usage-plan-prefix", default="replicate-proxy", help="the name of the stack")
    return parser.parse_args(arguments)


def _assign_usage_key(options: argparse.Namespace) -> UsageAssignment:
    if not options.api_id:
        return _NO_USAGE
    gateway = ApiGateway(get_client("apigateway"), prefix=options.usage_plan_prefix)
    keys = UsagePlanKeys(gateway, default_limits=_ADMIN_LIMITS)
    return keys.assign(f"{options.tenant}-first", None, Stage(options.api_id, options.stage))


def issue_key(
    store: KeyStore,
    root_secret: str,
    clock: Clock,
    *,
    tenant: str,
    name: str,
    scopes: Collection[Scope],
    usage: UsageAssignment = _NO_USAGE,
) -> ApiKeySecret:
    """Create a key directly in the store, and return its secret, which cannot be recovered later."""
    secret = ApiKeySecret.generate()
    digest_key = signing.derive_key(root_secret.encode(), "api-keys")
    store.create(
        ApiKey(
            id=secret.key_id,
            tenant=tenant,
            digest=secret.compute_digest(digest_key),
            created_at=clock.now(),
            name=name,
            scopes=frozenset(scopes),
            limits=usage.limits,
            usage_key_id=usage.usage_key_id,
            usage_key=usage.usage_key,
        )
    )
    return secret


if __name__ == "__main__":
    sys.exit(run_tool(main))
