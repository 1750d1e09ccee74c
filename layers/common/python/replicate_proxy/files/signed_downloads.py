"""Addresses by which Replicate fetches an input file without credentials. Pure.

In the form Replicate's own have (OpenAPI document, files.download): owner, expiry and a signature over both
and the id. The signature is ours, 64 hex digits that nobody can guess; whoever holds the address can read
the file until it expires, nobody else can.

Nobody else's file can be named as an input. Pure.

An address is looked at where it points at our own origin or carries a signature of ours: on another host
name of the same API the signature still tells. Other addresses are Replicate's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from replicate_proxy import signing
from replicate_proxy.api.validation import field_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.files.model import StoredFile


_PATH = re.compile(r"/v1/files/([^/]+)/download/?$")


@dataclass(frozen=True)
class SignedDownload:
    """What a download address claims. `expiry` is in seconds since 1970."""

    file_id: str
    owner: str
    expiry: int
    signature: str

    @classmethod
    def parse(cls, file_id: str, query: Mapping[str, str]) -> SignedDownload | None:
        """None where a part is missing or the expiry is no number."""
        expiry = query.get("expiry", "")
        if not (expiry.isascii() and expiry.isdigit() and len(expiry) <= len("9999999999")):
            return None
        return cls(file_id, query.get("owner", ""), int(expiry), query.get("signature", ""))

    def has_valid_signature(self, key: bytes) -> bool:
        """Whether we signed it, whatever the time."""
        return signing.verify(key, self.signature, self.owner, self.file_id, str(self.expiry))

    def is_expired(self, now: datetime) -> bool:
        return self.expiry <= now.timestamp()


def build_download_url(base_url: str, file: StoredFile, key: bytes) -> str:
    """The address of a file, good for as long as the file lives."""
    expiry = str(int(file.expires_at.timestamp()))
    signature = signing.sign(key, file.tenant, file.id, expiry)
    query = urlencode({"owner": file.tenant, "expiry": expiry, "signature": signature})
    return f"{base_url}/v1/files/{file.id}/download?{query}"


def parse_download_url(url: str) -> SignedDownload | None:
    """The ticket in an address that has the form of ours, on whatever host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    path = _PATH.search(parts.path)
    if path is None:
        return None
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return SignedDownload.parse(path[1], query)


def check_input_files(
    value: Any, principal: Principal, *, load_signing_key: Callable[[], bytes], base_url: str, now: datetime
) -> None:
    """Raises a 422 ApiError for a file that is not the caller's own, or past its time; it says which field.

    `value` is a prediction's input; `key` (of the signatures) is asked only where an address looks like ours.
    """
    origin = urlsplit(base_url).netloc.lower()
    for path, text in _addresses(value):
        ours = urlsplit(text).netloc.lower() == origin
        if (ours and "/v1/files/" in text) or parse_download_url(text):
            problem = _problem(text, principal.tenant, load_signing_key(), now, ours=ours)
            if problem:
                raise field_error(path, problem, error_type="file_not_usable")


def _problem(url: str, tenant: str, key: bytes, now: datetime, *, ours: bool) -> str | None:
    ticket = parse_download_url(url)
    if ticket is None or not ticket.has_valid_signature(key):
        return "is not a download address of a file; use urls.get of the file" if ours else None
    if ticket.owner != tenant:
        return "names no file of yours"
    return "names a file that has expired; upload it again" if ticket.is_expired(now) else None


def _addresses(value: Any) -> Iterator[tuple[str, str]]:
    """Every text in the value that can be an address, with its dotted path; without recursion."""
    open_ = [("input", value)]
    while open_:
        path, current = open_.pop()
        match current:
            case dict():
                open_ += [(f"{path}.{name}", entry) for name, entry in current.items()]
            case list():
                open_ += [(f"{path}.{index}", entry) for index, entry in enumerate(current)]
            case str() if _is_address(current):
                yield path, current.strip()


def _is_address(text: str) -> bool:
    if not text.lstrip()[:8].lower().startswith(("http://", "https://")):
        return False
    try:
        urlsplit(text.strip())
    except ValueError:
        return False
    return True
