"""The ASGI application: routes by concern behind the gate."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from tools.simulator.gate import Gate
from tools.simulator.problems import ProblemError, not_found
from tools.simulator.routes import account, control, delivery, files, models, predictions, stream
from tools.simulator.simulator import Simulator

_ROUTES = (predictions, models, files, account, delivery, stream, control)


def create_app(simulator: Simulator) -> Starlette:
    """The application around a simulator, whose background work lives as long as the application."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await simulator.open()
        try:
            yield
        finally:
            await simulator.close()

    app = Starlette(
        routes=[route for module in _ROUTES for route in module.ROUTES],
        middleware=[Middleware(Gate, simulator=simulator)],
        exception_handlers={ProblemError: _problem, HTTPException: _http_exception},
        lifespan=lifespan,
    )
    app.state.simulator = simulator
    return app


async def _problem(_: Request, error: Exception) -> Response:
    return error.response() if isinstance(error, ProblemError) else not_found().response()


async def _http_exception(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code != not_found().status:
        return ProblemError(error.status_code, error.detail).response()
    return not_found().response()
