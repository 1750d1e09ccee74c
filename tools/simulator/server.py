"""The ASGI application, and its server: uvicorn with connections that can be reset."""

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tools.simulator.faults import CONNECTION_EXTENSION
from tools.simulator.middleware import SimulatorMiddleware
from tools.simulator.problems import ProblemError, not_found_error
from tools.simulator.routes import catalog, control, files, predictions
from tools.simulator.settings import LaunchOptions, Settings
from tools.simulator.simulator import Simulator

_ROUTE_MODULES = (predictions, catalog, files, control)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST instead of FIN (socket(7))


def create_app(simulator: Simulator) -> Starlette:
    """Return the application. Its lifespan starts and stops the simulator's background work."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await simulator.start()
        try:
            yield
        finally:
            await simulator.stop()

    app = Starlette(
        routes=[route for module in _ROUTE_MODULES for route in module.ROUTES],
        middleware=[Middleware(SimulatorMiddleware, simulator=simulator)],
        exception_handlers={ProblemError: _handle_problem, HTTPException: _handle_http_exception},
        lifespan=lifespan,
    )
    app.state.simulator = simulator
    return app


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 takes a free one. Raises OSError if the port is in use."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    return listening


def serve(listening: socket.socket, launch: LaunchOptions, settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        create_app(Simulator(launch, settings)),
        http=AbortableProtocol,
        ws="none",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_Server(config, launch).serve(sockets=[listening]))


class AbortableProtocol(HttpToolsProtocol):
    """Gives every request an ASGI extension with `abort` (TCP reset) and `close` (flush and close)."""

    def on_message_begin(self) -> None:
        """Add the extension when the parser begins a request."""
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION_EXTENSION: {"abort": self._abort, "close": self._close}}

    def _abort(self) -> None:
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def _close(self) -> None:
        self.transport.close()


class _Server(uvicorn.Server):
    """A server that writes the ready file once it accepts connections."""

    def __init__(self, config: uvicorn.Config, launch: LaunchOptions) -> None:
        super().__init__(config)
        self._launch = launch

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._launch.ready_file:
            content = json.dumps({"url": self._launch.public_url, "pid": os.getpid()})
            partial = self._launch.ready_file.with_suffix(".partial")
            partial.write_text(content, encoding="utf-8")
            partial.replace(self._launch.ready_file)  # atomic: a reader never sees an incomplete file


async def _handle_problem(_: Request, error: Exception) -> Response:
    return error.build_response() if isinstance(error, ProblemError) else not_found_error().build_response()


async def _handle_http_exception(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code != not_found_error().status:
        return ProblemError(error.status_code, error.detail).build_response()
    return not_found_error().build_response()
