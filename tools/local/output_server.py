"""Serves stored outputs on loopback as CloudFront does on AWS: 200 directly, `Authorization` ignored.

    python -m tools.local.output_server --port N --origin-file FILE

FILE holds {"endpoint": "http://127.0.0.1:4566", "host": "<label>.cloudfront.localhost"}: the emulated
distribution, whose origin access control signs the reads of the bucket. It exists only after the deployment,
so the file is read per request.
"""

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tools.local.servers import LOOPBACK

PASSED_ON = ("range", "if-none-match", "if-modified-since", "if-range", "accept")
TLS = {"x-forwarded-proto": "https"}  # The distribution serves nothing else; this front stands for its TLS.
HOP_BY_HOP = ("connection", "transfer-encoding", "keep-alive", "server", "date")


def create_application(origin_file: Path) -> Starlette:
    """GET and HEAD of any key; everything else is 405, as on a distribution of a bucket."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=60, follow_redirects=False) as client:
            app.state.client = client
            yield

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def serve(request: Request) -> Response:
        origin = _origin(origin_file)
        if origin is None:
            return PlainTextResponse("nothing is deployed yet", status_code=503)
        client: httpx.AsyncClient = request.app.state.client
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        upstream = client.build_request(
            request.method,
            origin["endpoint"] + request.url.path,
            headers=headers | {"host": origin["host"], **TLS},
        )
        answer = await client.send(upstream, stream=True)
        kept = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
        return StreamingResponse(
            answer.aiter_raw(), answer.status_code, kept, background=BackgroundTask(answer.aclose)
        )

    routes = [Route("/health", health), Route("/{key:path}", serve, methods=["GET", "HEAD"])]
    return Starlette(routes=routes, lifespan=lifespan)


def _origin(origin_file: Path) -> dict[str, str] | None:
    """A hundred bytes from the page cache: not worth a thread."""
    try:
        origin: dict[str, str] = json.loads(origin_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return origin


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.local.output_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--origin-file", type=Path, required=True)
    options = parser.parse_args()
    uvicorn.run(
        create_application(options.origin_file), host=LOOPBACK, port=options.port, log_level="warning"
    )


if __name__ == "__main__":
    main()
