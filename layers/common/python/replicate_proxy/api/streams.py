"""The route of stored streams. It has no authorizer: CloudFront forwards no credential, the URL is signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.services.stream_replay import StreamReplay

STREAMS_RESOURCE = "/streams/{proxy+}"
# Event streams are UTF-8 (HTML, section 9.2.5), but HTTP libraries take text without a charset for Latin-1.
_CONTENT_TYPE = "text/event-stream; charset=utf-8"


def add_stream_routes(router: Router, replay: StreamReplay) -> None:
    """Register the route. The path is whatever the stream's URL has; the query names the prediction."""

    @router.get(STREAMS_RESOURCE)
    def get_stream(request: Request) -> Response:
        body = replay.read(
            request.query,
            last_event_id=request.headers.get("last-event-id", ""),
            received_at=request.received_at,
        )
        headers = {"content-type": _CONTENT_TYPE, "cache-control": "no-store"}
        return {"statusCode": 200, "headers": headers, "body": body, "isBase64Encoded": False}
