"""Carry requests of the real HTTP client to the simulated Replicate, with faults on the way.

The code under test builds real requests and parses real responses.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from replicate_proxy.replicate_api import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tools.simulation.faults import FaultPlan
    from tools.simulation.replicate import SimulatedReplicate
    from tools.simulation.scheduler import Actor, Scheduler

_READ_TIMEOUT_SECONDS = 20.0


class ReplicateAdapter(BaseAdapter):
    """Carries requests of the real client to the simulated Replicate, with faults on the way."""

    def __init__(self, scheduler: Scheduler, replicate: SimulatedReplicate, plan: FaultPlan) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._replicate = replicate
        self._plan = plan

    def close(self) -> None:
        """Nothing is open."""

    def send(self, request: requests.PreparedRequest, *_arguments: Any, **_options: Any) -> requests.Response:
        actor = self._scheduler.actor
        url = request.url or ""
        tracker = connection._current_tracker.get()  # noqa: SLF001 - it is what the real adapter sets
        if tracker is None:
            raise RuntimeError("the client tracks every request")
        tracker.transport_tracks_sending = True
        is_create = request.method == "POST" and not url.endswith("/cancel")
        fault = self._plan.choose_replicate_fault(actor, request.method or "", is_create=is_create)
        self._plan.pause(actor, f"replicate {request.method} {urlsplit(url).path}", fault)
        if fault == "refused":
            raise requests.ConnectionError("connection refused")
        tracker.send_started = True
        return self._respond(actor, request, fault)

    def _respond(self, actor: Actor, request: requests.PreparedRequest, fault: str) -> requests.Response:
        """Let Replicate handle a request that reaches it, unless the fault prevents that."""

        def respond() -> tuple[int, dict[str, Any]]:
            return self._replicate.respond(
                actor, request.method or "", request.url or "", request.headers, request.body
            )

        if fault == "reset":
            raise requests.ConnectionError("connection reset")
        if fault in {"status_500", "status_503", "status_429"}:
            return _build_response(int(fault[7:]), {"detail": "unavailable", "retry_after": 2})
        if fault in {"hang", "late"}:
            if fault == "late":
                delay = self._plan.draw_late_create_delay(actor)
                self._scheduler.call_at(self._scheduler.now + delay, lambda: _ignore(respond))
            self._scheduler.sleep(_READ_TIMEOUT_SECONDS)
            raise requests.ReadTimeout("read timed out")
        status, body = respond()
        if fault == "response_lost":
            raise requests.ConnectionError("connection reset after sending")
        if fault == "timeout":
            self._scheduler.sleep(_READ_TIMEOUT_SECONDS)
            raise requests.ReadTimeout("read timed out")
        if fault == "status_500_after":
            return _build_response(500, {"detail": "internal"})
        self._plan.observe(actor, (status, body))
        self._plan.pause(actor, "", fault)
        return _build_response(status, body, broken=fault == "broken_json")


def _ignore(call: Callable[[], object]) -> None:
    call()


def _build_response(status: int, body: Mapping[str, Any], *, broken: bool = False) -> requests.Response:
    content = json.dumps(body).encode()
    response = requests.Response()
    response.status_code = status
    response.headers = CaseInsensitiveDict({"Content-Type": "application/json"})
    response.raw = _Body(content[: len(content) // 2] if broken else content)
    return response


class _Body(io.BytesIO):
    """A body in the form in which urllib3 gives it."""

    def read1(self, size: int | None = -1, /, **_options: bool) -> bytes:
        return super().read1(-1 if size is None else size)

    def release_conn(self) -> None:
        """There is no connection."""
