"""The accounts at the simulated Replicate: their tokens, names and webhook secrets."""

from __future__ import annotations

import base64

SHARED_TOKEN = "r8_simulated"  # noqa: S105 - the simulation's own
SHARED_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the example of the specification
SHARED_NAME = "deployment"
ACCOUNT_LETTERS = "ab"


def build_token(tenant: str, letter: str) -> str:
    """Return the token of one of the accounts that a tenant has at Replicate."""
    return f"r8_{tenant}-{letter}_simulated"


def find_account_name(authorization: str) -> str | None:
    """Return the account that a request is made with, None if its token is not known."""
    token = authorization.removeprefix("Bearer ")
    if token == SHARED_TOKEN:
        return SHARED_NAME
    name = token.removeprefix("r8_").removesuffix("_simulated")
    return (
        name if token == f"r8_{name}_simulated" and name[-2:] in {f"-{x}" for x in ACCOUNT_LETTERS} else None
    )


def get_webhook_secret(account: str) -> str:
    """Return the secret with which Replicate signs the webhooks of an account."""
    if account == SHARED_NAME:
        return SHARED_SECRET
    return "whsec_" + base64.b64encode(account.ljust(32, ".").encode()).decode()
