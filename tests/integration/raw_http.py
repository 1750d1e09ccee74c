"""Requests that HTTP libraries would normalize or refuse, sent with http.client and sockets."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit


def send_raw(
    url: str, method: str, path: str, key: str | None, body: bytes | None = None
) -> tuple[int, bytes]:
    """Send a request with an unmodified path below the stage `url`; return status and body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    try:
        connection.request(method, f"{parts.path}{path}", body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def send_bytes(url: str, content: bytes) -> list[int]:
    """Send the bytes on one connection and return the statuses of all responses."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    received = b""
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(content)
        connection.settimeout(5)
        try:
            while part := connection.recv(65536):
                received += part
        except (TimeoutError, ConnectionResetError):
            pass  # The server keeps the connection open or resets it after its last response.
    return [int(response[:3]) for response in received.split(b"HTTP/1.1 ")[1:]]
