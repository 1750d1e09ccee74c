"""Addresses by which Replicate fetches an input file without credentials. Pure.

In the form Replicate's own have (OpenAPI document, files.download): owner, expiry and a signature over both
and the id. The signature is ours, 64 hex digits that nobody can guess; whoever holds the address can read
the file until it expires, nobody else can.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from replicate_proxy import signing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.files.model import StoredFile

__all__ = ["DownloadTicket", "download_address", "ticket_in"]

_PATH = re.compile(r"/v1/files/([^/]+)/download/?$")


@dataclass(frozen=True)
class DownloadTicket:
    """What a download address claims. `expiry` is in seconds since 1970."""

    file_id: str
    owner: str
    expiry: int
    signature: str

    @classmethod
    def read(cls, file_id: str, query: Mapping[str, str]) -> DownloadTicket | None:
        """None where a part is missing or the expiry is no number."""
        expiry = query.get("expiry", "")
        if not (expiry.isascii() and expiry.isdigit() and len(expiry) <= len("9999999999")):
            return None
        return cls(file_id, query.get("owner", ""), int(expiry), query.get("signature", ""))

    def is_ours(self, key: bytes) -> bool:
        """Whether we signed it, whatever the time."""
        return signing.verify(key, self.signature, self.owner, self.file_id, str(self.expiry))

    def is_over(self, now: datetime) -> bool:
        return self.expiry <= now.timestamp()


def download_address(base_url: str, file: StoredFile, key: bytes) -> str:
    """The address of a file, good for as long as the file lives."""
    expiry = str(int(file.expires_at.timestamp()))
    signature = signing.sign(key, file.tenant, file.id, expiry)
    query = urlencode({"owner": file.tenant, "expiry": expiry, "signature": signature})
    return f"{base_url}/v1/files/{file.id}/download?{query}"


def ticket_in(url: str) -> DownloadTicket | None:
    """The ticket in an address that has the form of ours, on whatever host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    path = _PATH.search(parts.path)
    if path is None:
        return None
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return DownloadTicket.read(path[1], query)
