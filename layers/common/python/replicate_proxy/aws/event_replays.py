"""Replays of the archive of the event bus, by EventBridge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.clock import convert_to_utc
from replicate_proxy.errors import NotFoundError
from replicate_proxy.operations.replays import NAME_PREFIX, Replay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from types_boto3_events import EventBridgeClient
    from types_boto3_events.type_defs import ListReplaysRequestTypeDef

_NOT_FOUND = frozenset({"ResourceNotFoundException"})
_CONFLICT = frozenset({"IllegalStatusException"})
_PERMANENT = frozenset(
    {
        "AccessDeniedException",
        "InvalidEventPatternException",
        "LimitExceededException",
        "ResourceAlreadyExistsException",
        "ValidationException",
    }
)


@dataclass(frozen=True, slots=True)
class ArchiveAddresses:
    """The ARNs of the archive, of its bus and, by name, of the rules that events are replayed to."""

    archive: str
    bus: str
    rules: Mapping[str, str]


class EventBridgeReplays:
    """The EventReplays port."""

    def __init__(self, client: EventBridgeClient, addresses: ArchiveAddresses) -> None:
        self._client = client
        self._addresses = addresses

    def start(self, name: str, *, start: datetime, end: datetime, rules: Sequence[str]) -> None:
        with translate_aws_errors("start replay", not_found=_NOT_FOUND, permanent=_PERMANENT):
            self._client.start_replay(
                ReplayName=name,
                EventSourceArn=self._addresses.archive,
                EventStartTime=start,
                EventEndTime=end,
                Destination={
                    "Arn": self._addresses.bus,
                    "FilterArns": [self._addresses.rules[rule] for rule in rules],
                },
            )

    def get(self, name: str) -> Replay:
        with translate_aws_errors("read replay", not_found=_NOT_FOUND, permanent=_PERMANENT):
            found = self._client.describe_replay(ReplayName=name)
        if found["EventSourceArn"] != self._addresses.archive:
            raise NotFoundError("no such replay")
        return self._build_replay(name, found)

    def list(self) -> Sequence[Replay]:
        replays: list[Replay] = []
        request: ListReplaysRequestTypeDef = {"EventSourceArn": self._addresses.archive}
        while True:
            with translate_aws_errors("list replays", not_found=_NOT_FOUND, permanent=_PERMANENT):
                page = self._client.list_replays(**request)
            replays += [
                self._build_replay(found["ReplayName"], found)
                for found in page["Replays"]
                if found["ReplayName"].startswith(NAME_PREFIX)
            ]
            if not page.get("NextToken"):
                return replays
            request["NextToken"] = page["NextToken"]

    def cancel(self, name: str) -> None:
        self.get(name)
        with translate_aws_errors(
            "cancel replay", conflict=_CONFLICT, not_found=_NOT_FOUND, permanent=_PERMANENT
        ):
            self._client.cancel_replay(ReplayName=name)

    def _build_replay(self, name: str, found: Mapping[str, Any]) -> Replay:
        names_by_arn = {arn: rule for rule, arn in self._addresses.rules.items()}
        filters = found.get("Destination", {}).get("FilterArns", ())
        return Replay(
            id=name.removeprefix(NAME_PREFIX),
            state=found["State"],
            state_reason=found.get("StateReason") or "",
            rules=tuple(names_by_arn.get(arn, arn) for arn in filters),
            start=convert_to_utc(found["EventStartTime"]),
            end=convert_to_utc(found["EventEndTime"]),
            replayed_until=_find_time(found, "EventLastReplayedTime"),
            started_at=_find_time(found, "ReplayStartTime"),
            ended_at=_find_time(found, "ReplayEndTime"),
        )


def _find_time(found: Mapping[str, Any], name: str) -> datetime | None:
    return convert_to_utc(found[name]) if found.get(name) else None
