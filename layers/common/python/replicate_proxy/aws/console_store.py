"""What the console keeps in the control table: links that open a session, and attempts to sign in.

| pk                                | item                                                                 |
|-----------------------------------|----------------------------------------------------------------------|
| LINK#<SHA-256 of the token>       | who made it, what it opens, until when, and when it was used         |
| SIGN_IN#<address>#<window>        | the attempts of an address within a window of a minute               |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from replicate_proxy.aws.control_table import ConditionFailedError
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.console.access import SignInLink
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.ports import Clock

_LINK_RETENTION = timedelta(days=1)
_WINDOW_SECONDS = 60
MAX_ATTEMPTS_PER_MINUTE = 10
# Who has one address of IPv6 has all of its network.
_IPV6_NETWORK_SHIFT = 64


@dataclass(frozen=True, slots=True)
class ControlTableLinks:
    """The LinkStore port."""

    table: ControlTable

    def create(self, token_hash: str, link: SignInLink) -> None:
        values = {
            "key_id": link.key_id,
            "proof": link.proof,
            "tenant": link.tenant,
            "valid_until": format_timestamp(link.valid_until),
            "expires_at": int((link.valid_until + _LINK_RETENTION).timestamp()),
        }
        self.table.set_attributes(_link_key(token_hash), values, condition="attribute_not_exists(key_id)")

    def consume(self, token_hash: str, now: datetime) -> SignInLink | None:
        try:
            record = self.table.update(
                _link_key(token_hash),
                "SET used_at = :now",
                {"now": format_timestamp(now)},
                condition="valid_until > :now AND attribute_not_exists(used_at)",
            )
        except ConditionFailedError:
            return None
        return SignInLink(
            key_id=record["key_id"],
            proof=record["proof"],
            tenant=record["tenant"],
            valid_until=parse_timestamp(record["valid_until"]),
        )


@dataclass(frozen=True, slots=True)
class ControlTableSignInLimiter:
    """The SignInLimiter port. No sign-in succeeds while the table is unavailable: no key can be read then."""

    table: ControlTable
    clock: Clock

    def allow(self, source_ip: str) -> bool:
        window = int(self.clock.now().timestamp()) // _WINDOW_SECONDS
        try:
            self.table.update(
                f"SIGN_IN#{_name_network(source_ip)}#{window}",
                "ADD attempts :one SET expires_at = :expires_at",
                {
                    "one": 1,
                    "limit": MAX_ATTEMPTS_PER_MINUTE,
                    "expires_at": (window + 2) * _WINDOW_SECONDS,
                },
                condition="attribute_not_exists(attempts) OR attempts < :limit",
            )
        except (ConditionFailedError, RetryableError) as error:
            logger.warning("attempt to sign in rejected", reason=type(error).__name__)
            return False
        return True


def _link_key(token_hash: str) -> str:
    return f"LINK#{token_hash}"


def _name_network(source_ip: str) -> str:
    try:
        address = ip_address(source_ip)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"{int(address) >> _IPV6_NETWORK_SHIFT:x}"
    return str(address)
