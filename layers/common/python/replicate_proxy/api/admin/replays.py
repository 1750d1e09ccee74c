"""Routes of replays of archived events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import StartReplayBody
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_optional_timestamp, format_timestamp

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.replays import Replay, ReplayService


def add_replay_routes(router: Router, replays: ReplayService) -> None:
    """Register the routes of replays."""

    @router.get("/admin/replays", query=())
    def list_replays(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, {"results": [build_replay_view(replay) for replay in replays.list()]})

    @router.post("/admin/replays")
    def start_replay(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(StartReplayBody, request.json())
        replay = replays.start(body.start, body.end, body.rules)
        return json_response(201, build_replay_view(replay))

    @router.get("/admin/replays/{id}")
    def get_replay(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, build_replay_view(replays.get(request.path_params["id"])))

    @router.post("/admin/replays/{id}/cancel")
    def cancel_replay(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, build_replay_view(replays.cancel(request.path_params["id"])))


def build_replay_view(replay: Replay) -> dict[str, Any]:
    """Return the replay; a list does not have the rules."""
    return {
        "id": replay.id,
        "state": replay.state.lower(),
        "state_reason": replay.state_reason,
        "rules": list(replay.rules),
        "from": format_timestamp(replay.start),
        "to": format_timestamp(replay.end),
        "replayed_until": format_optional_timestamp(replay.replayed_until),
        "started_at": format_optional_timestamp(replay.started_at),
        "ended_at": format_optional_timestamp(replay.ended_at),
    }
