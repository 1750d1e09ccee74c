"""Responses of the console with the headers that protect its pages. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

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


def build_content_policy(image_url: str) -> str:
    """Return the Content-Security-Policy: our own files, and images of the outputs' host."""
    parts = urlsplit(image_url)
    images = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        f" img-src 'self'{images}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def html_response(status: int, html: str, content_policy: str) -> Response:
    """Return a page, which no cache may keep."""
    headers = {
        **_COMMON_HEADERS,
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": content_policy,
        "cache-control": "no-store",
    }
    return {"statusCode": status, "headers": headers, "body": html, "isBase64Encoded": False}


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
