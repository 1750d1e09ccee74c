"""Serves the application with uvicorn, on a protocol that can reset its TCP connection."""

import asyncio
import json
import os
import socket
import struct

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tools.simulator.app import create_app
from tools.simulator.faults.http import CONNECTION
from tools.simulator.settings import Knobs, Launch
from tools.simulator.simulator import Simulator

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST instead of FIN (socket(7))


class AbortableProtocol(HttpToolsProtocol):
    """Gives each request an ASGI extension with `abort` (TCP reset) and `close` (flush, then hang up)."""

    def on_message_begin(self) -> None:
        """Called by the parser when a request starts."""
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: {"abort": self._abort, "close": self._close}}

    def _abort(self) -> None:
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def _close(self) -> None:
        self.transport.close()


class _Server(uvicorn.Server):
    """Tells where it listens as soon as it does."""

    def __init__(self, config: uvicorn.Config, launch: Launch) -> None:
        super().__init__(config)
        self._launch = launch

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._launch.ready_file:
            partial = self._launch.ready_file.with_suffix(".partial")
            partial.write_text(json.dumps({"url": self._launch.url, "pid": os.getpid()}), encoding="utf-8")
            partial.replace(self._launch.ready_file)  # a reader never sees half of it


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. OSError if it is taken."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    return listening


def serve(listening: socket.socket, launch: Launch, knobs: Knobs) -> None:
    """Serve until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        create_app(Simulator(launch, knobs)),
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
