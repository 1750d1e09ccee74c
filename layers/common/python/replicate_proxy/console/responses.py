"""Responses of the console with the headers that protect its pages. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from replicate_proxy.errors import ApiError
from replicate_proxy.observability import logger
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes

if TYPE_CHECKING:
    from replicate_proxy.api.http import Response
    from replicate_proxy.console.templates import StaticFile

_COMMON_HEADERS = {
    # With no-referrer, browsers would send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
_STATIC_CACHE = "public, max-age=31536000, immutable"
_DOCS_CACHE = "public, max-age=300"
# The viewer's style sheet has its icons as data: URLs.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


def build_content_policy(image_url: str) -> str:
    """Return the Content-Security-Policy: our own files, and images of the outputs' host."""
    parts = urlsplit(image_url)
    images = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        f" img-src 'self'{images}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def html_response(status: int, html: str, content_policy: str) -> Response:
    """Return a page, which no cache may keep. Raises a 500 ApiError if Lambda would refuse its size."""
    if calculate_sent_bytes(html) > MAX_RESPONSE_BYTES:
        logger.error("response too large")
        raise ApiError(500, "Page too large", "The page is larger than 6 MB. Narrow it, or use the API")
    headers = {
        **_COMMON_HEADERS,
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": content_policy,
        "cache-control": "no-store",
    }
    return {"statusCode": status, "headers": headers, "body": html, "isBase64Encoded": False}


def download_response(response: Response, file_name: str) -> Response:
    """Return a response of the API as a file that the browser stores."""
    headers = {
        **_COMMON_HEADERS,
        **response["headers"],
        "content-disposition": f'attachment; filename="{file_name}"',
        "cache-control": "no-store",
    }
    return {**response, "headers": headers}


def redirect(url: str) -> Response:
    """Let the browser read another page."""
    headers = {**_COMMON_HEADERS, "location": url, "cache-control": "no-store"}
    return {"statusCode": 303, "headers": headers, "body": "", "isBase64Encoded": False}


def redirect_whole_page(url: str) -> Response:
    """Let htmx leave the page, of which it has asked for a part only."""
    headers = {**_COMMON_HEADERS, "hx-redirect": url, "cache-control": "no-store"}
    return {"statusCode": 200, "headers": headers, "body": "", "isBase64Encoded": False}


def static_response(file: StaticFile) -> Response:
    headers = {**_COMMON_HEADERS, "content-type": file.content_type, "cache-control": _STATIC_CACHE}
    return {"statusCode": 200, "headers": headers, "body": file.text, "isBase64Encoded": False}


def build_docs_response(html: str) -> Response:
    """Return the page that shows the OpenAPI document."""
    response = html_response(200, html, _DOCS_POLICY)
    return {**response, "headers": {**response["headers"], "cache-control": _DOCS_CACHE}}


def build_document_response(text: str | None, etag: str) -> Response:
    """Return the OpenAPI document, which pages of any origin may read; 304 without its text."""
    headers = {
        **_COMMON_HEADERS,
        "content-type": "application/json",
        "cache-control": _DOCS_CACHE,
        "etag": etag,
        "access-control-allow-origin": "*",
    }
    status = 304 if text is None else 200
    return {"statusCode": status, "headers": headers, "body": text or "", "isBase64Encoded": False}
