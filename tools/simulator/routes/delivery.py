"""Output files, as replicate.delivery serves them: public, cacheable, ranged; Authorization is ignored."""

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tools.simulator.media.spec import Blob
from tools.simulator.routes.common import simulator

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_GONE = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code></Error>"


async def get(request: Request) -> Response:
    """GET or HEAD of a file; one byte range is honoured."""
    host, path = simulator(request), request.url.path
    if path.startswith("/third-party/"):
        host.stats.third_party_downloads += 1
    blob = host.delivery.find(path)
    if blob is None:
        return Response(_GONE, 404, media_type="application/xml")
    headers = {
        "etag": f'"{blob.etag}"',
        "cache-control": "public,max-age=3600",
        "accept-ranges": "bytes",
        "access-control-allow-origin": "*",
        "content-type": blob.content_type,
    }
    span = _span(request.headers.get("range"), blob)
    if span is None:
        return Response(blob.body, headers=headers)
    start, end = span
    if start >= end:
        return Response(status_code=416, headers={"content-range": f"bytes */{len(blob.body)}"})
    headers["content-range"] = f"bytes {start}-{end - 1}/{len(blob.body)}"
    return Response(blob.body[start:end], 206, headers=headers)


def _span(header: str | None, blob: Blob) -> tuple[int, int] | None:
    """First byte and end of the asked range; None where the whole file is meant (RFC 9110, 14.1.2)."""
    match = _RANGE.fullmatch(header or "")
    if match is None or not any(match.groups()):
        return None
    size = len(blob.body)
    if not match[1]:
        return max(0, size - int(match[2])), size
    end = int(match[2]) + 1 if match[2] else size
    return int(match[1]), min(end, size)


ROUTES = [
    Route("/delivery/{path:path}", get, methods=["GET", "HEAD"]),
    Route("/third-party/{path:path}", get, methods=["GET", "HEAD"]),
]
