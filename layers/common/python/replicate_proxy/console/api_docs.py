"""The OpenAPI document as JSON, and a page that shows it. Both are public, and the same for everyone."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from replicate_proxy.console.responses import build_docs_response, build_document_response

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.console.page import Site

_FILE_NAME = "openapi.yaml"
_HASH_DIGITS = 32


class ApiDocument(NamedTuple):
    """The document as JSON, with an entity tag that changes with it.

    The tag is weak, since API Gateway compresses the response.
    """

    text: str
    etag: str


def add_api_docs(router: Router, site: Site, folder: Path) -> None:
    """Register `GET /openapi.json` and `GET /docs`; `folder` has the document."""

    @router.get("/openapi.json", query=())
    def get_document(request: Request) -> Response:
        document = load_document(folder)
        known = request.headers.get("if-none-match", "")
        is_known = known.strip() == "*" or document.etag in [tag.strip() for tag in known.split(",")]
        return build_document_response(None if is_known else document.text, document.etag)

    @router.get("/docs")
    def show_docs(request: Request) -> Response:
        prefix = urlsplit(request.base_url).path.rstrip("/")
        html = site.templates.render("api_docs.html", now=site.clock.now(), prefix=prefix)
        return build_docs_response(html)


@cache
def load_document(folder: Path) -> ApiDocument:
    """Read the document once per execution environment."""
    # Imported here so that no page of the console loads it in a cold start.
    import yaml  # noqa: PLC0415

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # The loader is that of `safe_load`, in C where it is installed.
    document = yaml.load((folder / _FILE_NAME).read_bytes(), Loader=loader)  # noqa: S506
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return ApiDocument(text, f'W/"{hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]}"')
