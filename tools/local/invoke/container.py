"""The handler that runs in the container: it opens the relays, then calls the function's own handler.

`make invoke` copies this file beside the function's code, so it uses the standard library only. A relay
listens on a port of the container's loopback and forwards each connection to the same port of the machine
that runs the stack:

- `unix:<path>` is a socket in the mounted code folder, at which `tools.local.invoke.relay` listens. The first
  line of a connection names the port. It works with every Docker engine that runs on this machine, without
  a network between container and host.
- `tcp:<host>` is a host name by which containers reach the loopback of the machine, as in Docker Desktop.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

RELAY_VARIABLE = "LOCAL_INVOKE_RELAY"
PORTS_VARIABLE = "LOCAL_INVOKE_PORTS"

_LOOPBACK = "127.0.0.1"
_CHUNK_BYTES = 65536
_CONNECT_TIMEOUT_SECONDS = 10.0
_AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".on.aws")
# The instance metadata service and the container credentials of AWS.
_AWS_ADDRESSES = ("169.254.169.254", "169.254.170.2", "fd00:ec2::254")

type Handler = Callable[[Any, Any], Any]


class RealAwsError(OSError):
    """The function tried to reach real AWS. Nothing was sent."""


def lambda_handler(event: Any, context: Any) -> Any:
    """Handle the event with the function's own handler."""
    return _start()(event, context)


@cache
def _start() -> Handler:
    sys.addaudithook(refuse_real_aws)
    ports = [int(port) for port in os.environ[PORTS_VARIABLE].split(",")]
    open_relays(os.environ[RELAY_VARIABLE], ports)
    handler: Handler = importlib.import_module("app").lambda_handler
    return handler


def refuse_real_aws(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise RealAwsError for a connection to AWS: a hook for `sys.addaudithook` (Python documentation)."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    name = (host.decode() if isinstance(host, bytes) else str(host)).lower().rstrip(".")
    if name.endswith(_AWS_DOMAINS) or name in _AWS_ADDRESSES:
        raise RealAwsError(f"a local run must not reach real AWS: {name}")


def open_relays(target: str, ports: Sequence[int]) -> list[socket.socket]:
    """Listen on each port of the container's loopback, and forward connections in background threads."""
    return [_open_relay(target, port) for port in ports]


def _open_relay(target: str, port: int) -> socket.socket:
    listener = socket.create_server((_LOOPBACK, port), backlog=128)
    threading.Thread(target=_accept_connections, args=(listener, target, port), daemon=True).start()
    return listener


def _accept_connections(listener: socket.socket, target: str, port: int) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # The listener is closed.
        threading.Thread(target=_forward, args=(connection, target, port), daemon=True).start()


def _forward(connection: socket.socket, target: str, port: int) -> None:
    with connection:
        try:
            machine = connect_to_machine(target, port)
        except OSError as error:
            message = f"cannot reach port {port} of the local stack through {target}: {error}\n"
            sys.stderr.write(message)
            return
        with machine:
            join_streams(connection, machine)


def connect_to_machine(target: str, port: int) -> socket.socket:
    """Return a connection to the port of the machine. Raises OSError."""
    kind, _, address = target.partition(":")
    if kind == "tcp":
        return socket.create_connection((address, port), timeout=_CONNECT_TIMEOUT_SECONDS)
    machine = socket.socket(socket.AF_UNIX)
    machine.settimeout(_CONNECT_TIMEOUT_SECONDS)
    try:
        machine.connect(address)
        machine.sendall(f"{port}\n".encode())
    except OSError:
        machine.close()
        raise
    return machine


def join_streams(one: socket.socket, other: socket.socket) -> None:
    """Copy bytes in both directions until both sides have ended."""
    one.settimeout(None)
    other.settimeout(None)
    back = threading.Thread(target=_copy, args=(other, one), daemon=True)
    back.start()
    _copy(one, other)
    back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends or either side is reset, then end the target's input."""
    try:
        while data := source.recv(_CHUNK_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for stream in (source, target):
            _abort(stream)


def _abort(stream: socket.socket) -> None:
    try:
        stream.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # It is closed already.
