"""What must hold for API keys: changes do not undo each other, and a secret works as long as promised."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.auth.keys import KeyStatus
from tools.simulation.observation import observe_writes
from tools.simulation.resources import Table

if TYPE_CHECKING:
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


@dataclass(slots=True)
class Rotation:
    """A request to rotate the secret of a key. `ended_at` is None while it runs."""

    started_at: float
    overlap_seconds: float
    ended_at: float | None = None

    @property
    def grace_ends_at(self) -> float:
        return self.started_at + self.overlap_seconds


class KeyInvariants:
    """Watches the access table of one world; reports to `invariants`."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        self._valid_until: dict[str, dict[str, float]] = defaultdict(dict)
        self._rotations: dict[str, list[Rotation]] = defaultdict(list)
        self._revoked_from: dict[str, float] = {}
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

    def finish_revocation(self, key_id: str) -> None:
        """Record that an operator was told that a key is revoked."""
        self._revoked_from.setdefault(key_id, self._now)

    # What holders see

    def check_use(self, key_id: str, secret: str, status: KeyStatus, *, started_at: float) -> None:
        """Check the status that a holder got for its secret."""
        if status is KeyStatus.VALID:
            if self._revoked_from.get(key_id, float("inf")) < started_at:
                self._invariants.report("revoked is revoked", key_id)
        elif self._now < self._valid_until[key_id].get(secret, 0.0):
            self._invariants.report("a secret keeps its grace", f"{key_id} is {status.value}")

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
