"""A reader of event streams that resumes, as a careful client of ours does."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import requests

_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class StreamEvent:
    """One event; lines of data are joined by newlines."""

    name: str
    id: str
    data: str


def read_events(url: str, last_event_id: str = "") -> Iterator[StreamEvent]:
    """Yield the events as they come. Raises requests.RequestException if the connection breaks."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as response:
        response.raise_for_status()
        assert response.headers["content-type"].startswith("text/event-stream")
        buffer = b""
        for part in response.iter_content(None):
            buffer += part
            *blocks, buffer = buffer.split(b"\n\n")
            yield from (_parse(block.decode()) for block in blocks if not block.startswith(b":"))


def _parse(block: str) -> StreamEvent:
    fields: dict[str, list[str]] = {"event": [], "id": [], "data": []}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        fields[name].append(value.removeprefix(" "))
    return StreamEvent(fields["event"][0], fields["id"][0], "\n".join(fields["data"]))


@dataclass
class ResumingReader:
    """Reads a stream to its end over any number of broken connections, and counts them.

    It starts over when the stored stream takes the place of Replicate's.
    """

    url: str
    events: list[StreamEvent] = field(default_factory=list)
    connections: int = 0

    def read_on(self, *, max_events: int | None = None) -> bool:
        """Read until the end, the connection breaks or `max_events` have come; return whether it ended."""
        self.connections += 1
        is_first = True
        count = 0
        try:
            for event in read_events(self.url, self.events[-1].id if self.events else ""):
                if is_first and self._is_from_start(event):
                    self.events.clear()
                is_first = False
                self.events.append(event)
                count += 1
                if count == max_events:
                    return event.name == "done"
        except requests.RequestException:
            return False
        return bool(self.events) and self.events[-1].name == "done"

    def read_to_the_end(self) -> None:
        while not self.read_on():
            assert self.connections < 100, "the stream does not end"

    @property
    def text(self) -> str:
        return "".join(event.data for event in self.events if event.name == "output")

    def _is_from_start(self, event: StreamEvent) -> bool:
        return bool(self.events) and event.id == "stored:1" and not self.events[-1].id.startswith("stored:")
