"""Streams of predictions: their events, kept for every reader, and their text as server-sent events.

Replicate's streams have the events `output`, `logs`, `error` and `done`, and end with the comment
`:408: 408 Request Timeout` after 30 seconds without an event (Replicate docs, streaming). Newer versions of
Cog use other names and JSON (replicate/cog#3019), which the official clients do not know yet.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

type StreamDialect = Literal["replicate", "cog"]
type StreamKind = Literal["text", "files"]
type EventName = Literal["start", "output", "logs", "metric", "error", "done"]

_IDLE_COMMENT = ":408: 408 Request Timeout\n\n"
_END_DATA_BY_STATUS: dict[str, dict[str, str]] = {
    "canceled": {"reason": "canceled"},
    "aborted": {"reason": "canceled"},
    "failed": {"reason": "error"},
}


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event. `id` is milliseconds since 1970 and a number that is unique within the millisecond."""

    id: str
    name: EventName
    data: Any

    def format(self, dialect: StreamDialect) -> str:
        """Return the event as text (HTML Standard, server-sent events); empty if the dialect lacks it."""
        if dialect == "cog":
            return _format_cog_event(self)
        if self.name in ("start", "metric"):
            return ""
        data = self.data if isinstance(self.data, str) else json.dumps(self.data)
        return _format(self.name, self.id, data)


class EventStream:
    """The events of one prediction. `path` is unguessable, as it is all that a reader needs.

    Streams of files have a path of their own, by which the JavaScript client recognizes them.
    """

    def __init__(self, opaque: str, kind: StreamKind) -> None:
        self.path = f"/v1/files/stream-{opaque}" if kind == "files" else f"/v1/streams/{opaque}"
        self._events: list[StreamEvent] = []
        self._is_finished = False
        self._changed = asyncio.Event()
        self._last_milliseconds = 0
        self._number = 0
        self._sent_pieces = 0
        self._sent_text = ""

    def start(self) -> None:
        """Record that the prediction has started."""
        self._add("start", {})

    def add_logs(self, text: str) -> None:
        """Record new log lines."""
        if text:
            self._add("logs", text)

    def add_output(self, output: Any) -> None:
        """Record what is new in an output: further elements of a list, or the rest of a text."""
        if isinstance(output, list):
            pieces, self._sent_pieces = output[self._sent_pieces :], len(output)
        elif isinstance(output, str):
            pieces, self._sent_text = [output.removeprefix(self._sent_text)], output
        else:
            pieces = [] if output is None else [output]
        for piece in pieces:
            if piece != "":
                self._add("output", piece)

    def finish(self, status: str, error: str | None, metrics: dict[str, Any]) -> None:
        """Record the end of the prediction."""
        for name, value in metrics.items():
            self._add("metric", {"name": name, "value": value})
        if status == "failed":
            self._add("error", {"detail": error})
        self._is_finished = True
        self._add("done", _END_DATA_BY_STATUS.get(status, {}))

    async def read(
        self, *, last_event_id: str | None, dialect: StreamDialect, idle_seconds: float
    ) -> AsyncIterator[str]:
        """Yield the events after `last_event_id`, or all, until the stream ends or is idle for too long."""
        position = self._find_position(last_event_id)
        while True:
            for event in self._events[position:]:
                position += 1
                if text := event.format(dialect):
                    yield text
            if self._is_finished and position == len(self._events):
                return
            if position < len(self._events):
                continue
            try:
                await asyncio.wait_for(self._wait_for_change(), idle_seconds)
            except TimeoutError:
                yield _IDLE_COMMENT
                return

    def _add(self, name: EventName, data: Any) -> None:
        milliseconds = int(time.time() * 1000)
        self._number = self._number + 1 if milliseconds == self._last_milliseconds else 0
        self._last_milliseconds = milliseconds
        self._events.append(StreamEvent(f"{milliseconds}:{self._number}", name, data))
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait_for_change(self) -> None:
        await self._changed.wait()

    def _find_position(self, last_event_id: str | None) -> int:
        for position, event in enumerate(self._events, 1):
            if event.id == last_event_id:
                return position
        return 0


def _format_cog_event(event: StreamEvent) -> str:
    name = {"logs": "log", "error": "", "done": "completed"}.get(event.name, event.name)
    key = {"logs": "log", "output": "output"}.get(event.name)
    return _format(name, event.id, json.dumps({key: event.data} if key else event.data)) if name else ""


def _format(name: str, event_id: str, data: str) -> str:
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {name}\nid: {event_id}\n{lines}\n"
