"""Replays of archived events: the bus delivers the events of a period to our rules once more."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.audit.model import AuditAction
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ApiError, ConflictError, NotFoundError, PermanentError, field_error
from replicate_proxy.ids import generate_id, is_id
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.ports import Clock

NAME_PREFIX = "replay-"
"""The name of a replay at EventBridge is this and its ID; the roles of the functions allow no other."""

_ARCHIVE_OFF = (
    "This deployment keeps no events: deploy it with EnableEventArchive=true. Events from before cannot be"
    " replayed; the sweep asks Replicate about every job that has not ended"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A replay with the state of EventBridge, such as `RUNNING`; `replayed_until` is how far it has come."""

    id: str
    state: str
    state_reason: str
    rules: tuple[str, ...]
    start: datetime
    end: datetime
    replayed_until: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


class EventReplays(Protocol):
    """The archive of the event bus."""

    def start(self, name: str, *, start: datetime, end: datetime, rules: Sequence[str]) -> None:
        """Start a replay to the rules of these names.

        Raises PermanentError if it is refused, RetryableError if it is not known whether it was started.
        """
        ...

    def get(self, name: str) -> Replay:
        """Return the replay. Raises NotFoundError if the archive has none of this name."""
        ...

    def list(self) -> Sequence[Replay]:
        """Return the replays of the archive of the last 90 days, without their rules."""
        ...

    def cancel(self, name: str) -> None:
        """Cancel the replay. Raises ConflictError if it has ended, NotFoundError if there is none."""
        ...


class ReplayService:
    """Starts, shows and cancels replays; every method raises a 409 ApiError without an archive.

    Handlers ignore reports that come twice, so that a replay repeats only what was lost.
    """

    def __init__(
        self, replays: EventReplays | None, rules: Sequence[str], *, clock: Clock, audit: AuditLog
    ) -> None:
        self._replays = replays
        self._rules = rules
        self._clock = clock
        self._audit = audit

    @property
    def has_archive(self) -> bool:
        return self._replays is not None

    @property
    def rules(self) -> Sequence[str]:
        """The names of the rules that events can be replayed to."""
        return self._rules

    def start(self, start: datetime, end: datetime, rules: Sequence[str]) -> Replay:
        """Replay the events of a period to these rules, to all of ours without any."""
        replays = self._require()
        now = self._clock.now()
        if end <= start:
            raise field_error("to", "must be after from")
        if end > now:
            raise field_error("to", "must not be in the future")
        unknown = sorted(set(rules) - set(self._rules))
        if unknown:
            raise field_error("rules", f"has {', '.join(unknown)}; the rules are {', '.join(self._rules)}")
        replay_id, chosen = generate_id(now), tuple(sorted(set(rules or self._rules)))
        parameters = {"from": format_timestamp(start), "to": format_timestamp(end), "rules": chosen}
        with self._audit.change(
            AuditAction.START_REPLAY, f"replays/{replay_id}", parameters=parameters
        ) as change:
            try:
                replays.start(NAME_PREFIX + replay_id, start=start, end=end, rules=chosen)
            except PermanentError as error:
                raise ApiError(409, "Replay not started", str(error)) from error
            replay = replays.get(NAME_PREFIX + replay_id)
            change.after = _describe_for_audit(replay)
        logger.warning("replay started by operator", replay=replay_id, parameters=parameters)
        return replay

    def list(self) -> Sequence[Replay]:
        """Return the replays of the last 90 days, newest first."""
        return sorted(self._require().list(), key=lambda replay: replay.id, reverse=True)

    def get(self, replay_id: str) -> Replay:
        """Return a replay. Raises NotFoundError."""
        return self._require().get(_build_name(replay_id))

    def cancel(self, replay_id: str) -> Replay:
        """Stop a replay; what it has delivered stays delivered.

        Raises NotFoundError, and a 409 ApiError if it has ended.
        """
        replays, name = self._require(), _build_name(replay_id)
        before = replays.get(name)
        with self._audit.change(
            AuditAction.CANCEL_REPLAY, f"replays/{replay_id}", before=_describe_for_audit(before)
        ) as change:
            try:
                replays.cancel(name)
            except ConflictError as error:
                raise ApiError(409, "Replay has ended", f"Its state is {before.state.lower()}") from error
            replay = replays.get(name)
            change.after = _describe_for_audit(replay)
        return replay

    def _require(self) -> EventReplays:
        if self._replays is None:
            raise ApiError(409, "Event archive is off", _ARCHIVE_OFF)
        return self._replays


def _build_name(replay_id: str) -> str:
    if not is_id(replay_id):
        raise NotFoundError("no such replay")  # EventBridge refuses long names and most characters
    return NAME_PREFIX + replay_id


def _describe_for_audit(replay: Replay) -> Mapping[str, object]:
    return {name: str(value) for name, value in asdict(replay).items() if value}
