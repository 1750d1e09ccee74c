"""Serve stored outputs and streams on loopback, as CloudFront serves them on AWS.

    .venv/bin/python -m tools.local.output_server --port N --distribution-file FILE

It forwards requests for files to the distribution in the emulator, whose origin access control signs the
reads of the bucket. The emulator serves no other origins, so this server relays streams itself: it follows
the behaviors of the deployed distribution, forwards only what their policies name, fails over like an origin
group, and passes each part of a response on as it comes. Where a behavior trusts key groups, it serves signed
URLs only.

FILE describes the distribution (`tools.local.distribution`). It exists only after the deployment, so the file
is read for each request.
"""

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tools.local.loopback import LOOPBACK
from tools.local.signed_urls import build_error_body, find_refusal

_FORWARDED_HEADERS = ("range", "if-none-match", "if-modified-since", "if-range", "accept")
# A stream occupies its connection for minutes.
_NO_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
# The distribution serves HTTPS only, and this server takes the place of its TLS endpoint.
_TLS_HEADERS = {"x-forwarded-proto": "https"}
_REMOVED_RESPONSE_HEADERS = ("connection", "transfer-encoding", "keep-alive", "server", "date")


def create_application(distribution_file: Path) -> Starlette:
    """Serve GET and HEAD of any key; other methods are 405, as those of a distribution of a bucket."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=60, follow_redirects=False, limits=_NO_LIMITS) as client:
            app.state.client = client
            yield

    async def get_health(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def serve(request: Request) -> Response:
        distribution = _read_distribution(distribution_file)
        if distribution is None:
            return PlainTextResponse("nothing is deployed yet", status_code=503)
        client: httpx.AsyncClient = request.app.state.client
        behavior = next(
            one for one in distribution["behaviors"] if fnmatchcase(request.url.path, one["pattern"])
        )
        if "origins" in behavior:
            return await _relay_stream(client, request, behavior)
        if public_keys := behavior["public_keys"]:
            url = str(request.url.replace(query=""))
            refusal = find_refusal(url, request.query_params, public_keys, datetime.now(UTC))
            if refusal is not None:
                return Response(build_error_body(*refusal), 403, media_type="text/xml")
        return await _serve_output(client, request, distribution)

    routes = [Route("/health", get_health), Route("/{key:path}", serve, methods=["GET", "HEAD"])]
    return Starlette(routes=routes, lifespan=lifespan)


async def _serve_output(
    client: httpx.AsyncClient, request: Request, distribution: dict[str, Any]
) -> Response:
    headers = {name: request.headers[name] for name in _FORWARDED_HEADERS if name in request.headers}
    forwarded = client.build_request(
        request.method,
        distribution["endpoint"] + request.url.path,
        headers=headers | {"host": distribution["host"], **_TLS_HEADERS},
    )
    return _pass_on(await client.send(forwarded, stream=True))


async def _relay_stream(client: httpx.AsyncClient, request: Request, behavior: dict[str, Any]) -> Response:
    """Return the response of the first origin that answers and has no status of failover."""
    query = f"?{request.url.query}" if behavior["forwards_query"] and request.url.query else ""
    headers = {name: request.headers[name] for name in behavior["headers"] if name in request.headers}
    headers |= {"user-agent": "Amazon CloudFront", "accept-encoding": "identity"}
    *earlier, last = behavior["origins"]
    for origin in earlier:
        url = f"{origin}{request.url.path}{query}"
        # The status is all that decides, so nothing of a body has to be read.
        response = await _send(client, request.method, url, headers, behavior["timeout"])
        if response is not None and response.status_code not in behavior["failover"]:
            return _pass_on(response)
        if response is not None:
            await response.aclose()
    url = f"{last}{request.url.path}{query}"
    response = await _send(client, request.method, url, headers, behavior["timeout"])
    return _pass_on(response) if response is not None else PlainTextResponse("no origin", status_code=504)


async def _send(
    client: httpx.AsyncClient, method: str, url: str, headers: dict[str, str], timeout_seconds: float
) -> httpx.Response | None:
    """Return the response as soon as its head is there, None if there is none."""
    request = client.build_request(method, url, headers=headers, timeout=httpx.Timeout(timeout_seconds))
    try:
        return await client.send(request, stream=True)
    except httpx.TransportError:
        return None


def _pass_on(response: httpx.Response) -> Response:
    headers = {
        name: value for name, value in response.headers.items() if name not in _REMOVED_RESPONSE_HEADERS
    }
    return StreamingResponse(_read(response), response.status_code, headers)


async def _read(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the body as it comes; close the connection also if the client goes away."""
    try:
        async for part in response.aiter_raw():
            yield part
    finally:
        await response.aclose()


def _read_distribution(distribution_file: Path) -> dict[str, Any] | None:
    """Return the distribution, or None before the first deployment.

    The file is too small to be worth a thread.
    """
    try:
        distribution: dict[str, Any] = json.loads(distribution_file.read_text(encoding="utf-8"))
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
