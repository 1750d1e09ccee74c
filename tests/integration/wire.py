"""HTTP by http.client and plain sockets: what libraries would tidy up goes out as it is."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit


def send_raw(
    url: str, method: str, path: str, key: str | None, body: bytes | None = None
) -> tuple[int, bytes]:
    """Status and body for a path sent as it is, below the stage."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    try:
        connection.request(method, f"{parts.path}{path}", body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def send_bytes(url: str, text: bytes) -> list[int]:
    """Statuses of all responses to these bytes on one connection."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    received = b""
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(text)
        connection.settimeout(5)
        try:
            while part := connection.recv(65536):
                received += part
        except (TimeoutError, ConnectionResetError):
            pass  # kept open, or thrown out: what has come is what there is
    return [int(piece[:3]) for piece in received.split(b"HTTP/1.1 ")[1:]]
