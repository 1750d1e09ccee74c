"""Signed download URLs, and the check that a prediction's input names only the tenant's own files.

Replicate fetches an input file without credentials, so the URL is the credential. It has the form of
Replicate's own (OpenAPI document, files.download): owner, expiry, and a signature over both and the file ID.
Whoever holds the URL can read that file until it expires.

Since a signed URL opens a file, a tenant must not be able to send the URL of another tenant's file to a
model. `check_input_files` therefore checks each URL of an input that points to our host or carries our
signature; the signature also reveals URLs that use another host name of the API. All other URLs are left to
Replicate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from replicate_proxy import signing
from replicate_proxy.errors import field_error
from replicate_proxy.json_tree import find_strings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.files.model import StoredFile


_FILES_PATH = "/v1/files/"
_DOWNLOAD_PATH_PATTERN = re.compile(rf"{_FILES_PATH}([^/]+)/download/?$")
_MAX_EXPIRY_DIGITS = 10


@dataclass(frozen=True)
class SignedDownload:
    """The content of a download URL, not yet verified. `expiry` is a Unix time in seconds."""

    file_id: str
    owner: str
    expiry: int
    signature: str

    @classmethod
    def parse(cls, file_id: str, query: Mapping[str, str]) -> SignedDownload | None:
        """Parse the query parameters; return None if `expiry` is missing or not a Unix time."""
        expiry = query.get("expiry", "")
        if not (expiry.isascii() and expiry.isdigit() and len(expiry) <= _MAX_EXPIRY_DIGITS):
            return None
        return cls(file_id, query.get("owner", ""), int(expiry), query.get("signature", ""))

    def has_valid_signature(self, signing_key: bytes) -> bool:
        return signing.verify(signing_key, self.signature, self.owner, self.file_id, str(self.expiry))

    def is_expired(self, now: datetime) -> bool:
        return self.expiry <= now.timestamp()


def build_download_url(base_url: str, file: StoredFile, signing_key: bytes) -> str:
    """Return the signed URL of a file, which is valid until the file expires."""
    expiry = str(int(file.expires_at.timestamp()))
    signature = signing.sign(signing_key, file.tenant, file.id, expiry)
    query = urlencode({"owner": file.tenant, "expiry": expiry, "signature": signature})
    return f"{base_url}/v1/files/{file.id}/download?{query}"


def parse_download_url(url: str) -> SignedDownload | None:
    """Parse a URL on any host; return None if it does not have the form of a download URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    match = _DOWNLOAD_PATH_PATTERN.search(_normalize_path(parts.path))
    if match is None:
        return None
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return SignedDownload.parse(match[1], query)


def check_input_files(
    prediction_input: Any,
    principal: Principal,
    *,
    load_signing_key: Callable[[], bytes],
    base_url: str,
    now: datetime,
) -> None:
    """Raise a 422 ApiError that names the field if a URL names an expired file or one of another tenant.

    `load_signing_key` is called only if a URL looks like one of ours.
    """
    our_host = urlsplit(base_url).netloc.lower()
    for path, text in find_strings(prediction_input, _is_url):
        url = text.strip()
        parts = urlsplit(url)
        is_our_host = parts.netloc.lower() == our_host
        if (is_our_host and _FILES_PATH in _normalize_path(parts.path)) or parse_download_url(url):
            problem = _find_problem(url, principal.tenant, load_signing_key(), now, is_our_host=is_our_host)
            if problem:
                field = ".".join(str(step) for step in ("input", *path))
                raise field_error(field, problem, error_type="file_not_usable")


def _find_problem(
    url: str, tenant: str, signing_key: bytes, now: datetime, *, is_our_host: bool
) -> str | None:
    """Return why the URL must not be used, None if it may be used."""
    download = parse_download_url(url)
    if download is None or not download.has_valid_signature(signing_key):
        return "is not a download URL of a file; use urls.get of the file" if is_our_host else None
    if download.owner != tenant:
        return "does not name one of your files"
    return "names a file that has expired; upload it again" if download.is_expired(now) else None


def _normalize_path(path: str) -> str:
    """Return the path by which the API finds a route: decoded, and without repeated slashes."""
    return re.sub("/{2,}", "/", unquote(path))


def _is_url(text: str) -> bool:
    if not text.lstrip()[:8].lower().startswith(("http://", "https://")):
        return False
    try:
        urlsplit(text.strip())
    except ValueError:
        return False
    return True
