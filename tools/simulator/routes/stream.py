"""Server-sent events of a language model (Replicate docs, streaming); the id in the URL is the secret."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tools.simulator.routes.common import prediction_of
from tools.simulator.store import Prediction

_PAUSE = 0.05  # seconds between looks at the prediction
_DONE = {"canceled": {"reason": "canceled"}, "aborted": {"reason": "canceled"}, "failed": {"reason": "error"}}


async def stream(request: Request) -> Response:
    """GET of urls.stream."""
    return StreamingResponse(_events(prediction_of(request)), media_type="text/event-stream")


async def _events(prediction: Prediction) -> AsyncIterator[str]:
    sent = 0
    while True:
        finished = prediction.terminal
        pieces = prediction.output if isinstance(prediction.output, list) else []
        for piece in pieces[sent:]:
            yield _event("output", str(piece), sent)
            sent += 1
        if finished:
            break
        await asyncio.sleep(_PAUSE)
    if prediction.status == "failed":
        yield _event("error", json.dumps({"detail": prediction.error}), sent)
    yield _event("done", json.dumps(_DONE.get(prediction.status, {})), sent + 1)


def _event(name: str, data: str, number: int) -> str:
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {name}\nid: {int(time.time() * 1000)}:{number}\n{lines}\n"


ROUTES = [Route("/stream/{id}", stream, methods=["GET"])]
