"""Serve stored outputs on loopback, as CloudFront serves them on AWS.

    .venv/bin/python -m tools.local.output_server --port N --distribution-file FILE

It forwards requests to the distribution in the emulator, whose origin access control signs the reads of the
bucket. FILE names the distribution:

    {"endpoint": "http://127.0.0.1:4566", "host": "<label>.cloudfront.localhost"}

The distribution exists only after the deployment, so the file is read for each request.
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

from tools.local.loopback import LOOPBACK

_FORWARDED_HEADERS = ("range", "if-none-match", "if-modified-since", "if-range", "accept")
# The distribution serves HTTPS only, and this server takes the place of its TLS endpoint.
_TLS_HEADERS = {"x-forwarded-proto": "https"}
_REMOVED_RESPONSE_HEADERS = ("connection", "transfer-encoding", "keep-alive", "server", "date")


def create_application(distribution_file: Path) -> Starlette:
    """Serve GET and HEAD of any key; other methods are 405, as those of a distribution of a bucket."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=60, follow_redirects=False) as client:
            app.state.client = client
            yield

    async def get_health(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def serve_output(request: Request) -> Response:
        distribution = _read_distribution(distribution_file)
        if distribution is None:
            return PlainTextResponse("nothing is deployed yet", status_code=503)
        client: httpx.AsyncClient = request.app.state.client
        headers = {name: request.headers[name] for name in _FORWARDED_HEADERS if name in request.headers}
        forwarded = client.build_request(
            request.method,
            distribution["endpoint"] + request.url.path,
            headers=headers | {"host": distribution["host"], **_TLS_HEADERS},
        )
        response = await client.send(forwarded, stream=True)
        return StreamingResponse(
            response.aiter_raw(),
            response.status_code,
            {
                name: value
                for name, value in response.headers.items()
                if name not in _REMOVED_RESPONSE_HEADERS
            },
            background=BackgroundTask(response.aclose),
        )

    routes = [Route("/health", get_health), Route("/{key:path}", serve_output, methods=["GET", "HEAD"])]
    return Starlette(routes=routes, lifespan=lifespan)


def _read_distribution(distribution_file: Path) -> dict[str, str] | None:
    """Return the distribution, or None before the first deployment.

    The file is too small to be worth a thread.
    """
    try:
        distribution: dict[str, str] = json.loads(distribution_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return distribution


def main() -> None:
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m tools.local.output_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--distribution-file", type=Path, required=True)
    options = parser.parse_args()
    application = create_application(options.distribution_file)
    uvicorn.run(application, host=LOOPBACK, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
