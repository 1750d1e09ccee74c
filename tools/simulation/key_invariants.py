"""What must hold for API keys: changes do not undo each other, and a secret works as long as promised."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.auth.ip_ranges import is_ip_allowed
from replicate_proxy.auth.stale_key_cache import MAX_STALE_AGE
from tools.simulation.gateway_authorizer import Verdict
from tools.simulation.observation import observe_writes
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.simulation.gateway_authorizer import Decision
    from tools.simulation.invariants import Invariants, Item
    from tools.simulation.world import World

# One request of an operator changes the attributes of one of these groups.
_GROUPS = {
    "name": "name",
    "allowed_ips": "allowed_ips",
    "digest": "secrets",
    "previous_digest": "secrets",
    "previous_digest_expires_at": "secrets",
    "previous_digests": "secrets",
    "last_used_at": "last use",
    "revoked_at": "revocation",
    "expires_at": "revocation",
}
_IGNORED = frozenset({"revision", "write_id"})
# A write may take effect after its caller has given it up.
_LATE_SECONDS = 60.0
_MAX_STALE_SECONDS = MAX_STALE_AGE.total_seconds()


@dataclass(slots=True)
class Rotation:
    """A request to rotate the secret of a key. `ended_at` is None while it runs."""

    started_at: float
    overlap_seconds: float
    ended_at: float | None = None

    @property
    def grace_ends_at(self) -> float:
        return self.started_at + self.overlap_seconds


@dataclass(slots=True)
class Restriction:
    """A request to restrict a key to addresses. `confirmed_at` is None if the operator got no response."""

    addresses: Sequence[str]
    confirmed_at: float | None = None


@dataclass(slots=True)
class Revocation:
    """A request to revoke a key. `effective_at` is infinite as long as the operator got no response."""

    started_at: float
    ended_at: float = float("inf")
    effective_at: float = float("inf")


class KeyInvariants:
    """Watches the access table of one world; reports to `invariants`."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        self._valid_until: dict[str, dict[str, float]] = defaultdict(dict)
        self._rotations: dict[str, list[Rotation]] = defaultdict(list)
        self._revocations: dict[str, Revocation] = {}
        self._restrictions: dict[str, list[Restriction]] = defaultdict(list)
        observe_writes(world.aws, self._check_write)

    # What operators do

    def start_rotation(self, key_id: str, overlap_seconds: float) -> Rotation:
        """Record that an operator asks for a rotation: it may take effect from now on."""
        rotation = Rotation(self._now, overlap_seconds)
        self._rotations[key_id].append(rotation)
        secrets = self._valid_until[key_id]
        for secret, until in secrets.items():
            secrets[secret] = min(until, rotation.grace_ends_at)
        return rotation

    def finish_rotation(self, key_id: str, rotation: Rotation, new_secret: str | None) -> None:
        """Record the end of a rotation; `new_secret` is None if the operator got no response."""
        rotation.ended_at = self._now + _LATE_SECONDS
        if new_secret is not None:
            self.issue(key_id, new_secret, since=rotation.started_at, by=rotation)

    def issue(self, key_id: str, secret: str, *, since: float, by: Rotation | None = None) -> None:
        """Record that an operator was given a secret. Rotations beside it may have shortened its life."""
        beside = [
            other.grace_ends_at
            for other in self._rotations[key_id]
            if other is not by and (other.ended_at is None or other.ended_at >= since)
        ]
        self._valid_until[key_id][secret] = min(beside, default=float("inf"))

    def start_revocation(self, key_id: str) -> None:
        """Record that an operator asks for the revocation of a key."""
        self._valid_until[key_id] = dict.fromkeys(self._valid_until[key_id], self._now)
        self._revocations[key_id] = Revocation(self._now)

    def finish_revocation(self, key_id: str, *, effective_at: float) -> None:
        """Record that an operator was told from when on a key is rejected."""
        self._revocations[key_id].ended_at = self._now
        self._revocations[key_id].effective_at = effective_at

    def start_restriction(self, key_id: str, addresses: Sequence[str]) -> None:
        """Record that an operator asks that a key be used from these addresses only."""
        self._restrictions[key_id].append(Restriction(addresses))

    def finish_restriction(self, key_id: str) -> None:
        """Record that an operator was told that the last restriction is in effect."""
        self._restrictions[key_id][-1].confirmed_at = self._now

    # What holders see

    def check_use(self, key_id: str, secret: str, address: str, decision: Decision) -> None:
        """Check what a holder got for its secret."""
        if decision.verdict is Verdict.UNAUTHENTICATED:
            if self._now < self._valid_until[key_id].get(secret, 0.0):
                self._invariants.report("a secret keeps its grace", f"{key_id} is rejected")
            return
        if decision.verdict is Verdict.ACCEPTED and self._is_revoked(key_id, decision):
            self._invariants.report("revoked is revoked", key_id)
        self._check_address(key_id, address, decision)

    def _is_revoked(self, key_id: str, decision: Decision) -> bool:
        """Return whether the decision must not count any more, as docs/security.md says.

        What is decided while the key is being revoked may be cached after the flush. A key that cannot be
        read is the one that was read before, for some minutes.
        """
        revocation = self._revocations.get(key_id)
        if revocation is None or self._now <= revocation.effective_at:
            return False
        if decision.is_stale:
            return decision.started_at > revocation.ended_at + _MAX_STALE_SECONDS
        was_made_meanwhile = (
            revocation.started_at <= decision.ended_at and decision.started_at <= revocation.ended_at
        )
        return not was_made_meanwhile

    def _check_address(self, key_id: str, address: str, decision: Decision) -> None:
        """Check that the decision follows a restriction that may have been in effect when it was made."""
        since = decision.started_at - (_MAX_STALE_SECONDS if decision.is_stale else 0.0)
        possible: list[Restriction | None] = [None]
        for restriction in self._restrictions[key_id]:
            is_certain = restriction.confirmed_at is not None and restriction.confirmed_at < since
            possible = [restriction] if is_certain else [*possible, restriction]
        allowed = {each is None or is_ip_allowed(address, each.addresses) for each in possible}
        if (decision.verdict is Verdict.ACCEPTED) not in allowed:
            self._invariants.report(
                "a restriction of a key takes effect", f"{key_id} from {address}: {decision.verdict.value}"
            )

    # Writes

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        if table != Table.ACCESS or old is None or new is None or not new["sk"]["S"].startswith("KEY#"):
            return
        changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)} - _IGNORED
        groups = {_GROUPS.get(name, name) for name in changed}
        if len(groups) > 1:
            names = ", ".join(sorted(changed))
            self._invariants.report("changes of a key do not undo each other", f"{new['sk']['S']}: {names}")
        if "revoked_at" in old and old["revoked_at"] != new.get("revoked_at"):
            self._invariants.report("revoked is revoked", f"{new['sk']['S']} was changed")

    @property
    def _now(self) -> float:
        return self._world.scheduler.now
