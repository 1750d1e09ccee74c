"""The body of POST /v1/uploads. Pure.

A file as our API shows it, in Replicate's shape. Pure.

The Python client needs `name` and `etag`, which the OpenAPI document does not have.

/v1/files and /v1/uploads
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from replicate_proxy.api.http import Router, json_response
from replicate_proxy.api.multipart_form import parse_file_form
from replicate_proxy.api.validation import RequestBody, field_error, parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import NotFoundError
from replicate_proxy.files.model import normalize_media_type, sanitize_file_name
from replicate_proxy.files.signed_downloads import SignedDownload, build_download_url
from replicate_proxy.ids import is_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.files.model import StoredFile
    from replicate_proxy.files.service import FileService


_LARGEST_METADATA = 16 * 1024


def _small(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(metadata)) > _LARGEST_METADATA:
        raise ValueError(f"must not be larger than {_LARGEST_METADATA} bytes")
    return metadata


class CreateUploadBody(RequestBody):
    """What the caller is about to upload; `size` in bytes, where given, is the only one accepted."""

    filename: Annotated[str, AfterValidator(sanitize_file_name)]
    content_type: Annotated[str, StringConstraints(max_length=200), AfterValidator(normalize_media_type)] = (
        "application/octet-stream"
    )
    size: Annotated[int, Field(ge=1)] | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(_small)] = Field(default_factory=dict)


def build_file_view(file: StoredFile, *, base_url: str, signing_key: bytes) -> dict[str, Any]:
    """`urls.get` is what clients put into a prediction's input, so it is the signed address."""
    return {
        "id": file.id,
        "name": file.name,
        "content_type": file.content_type,
        "size": file.size_bytes or 0,
        "etag": file.checksums.get("md5", ""),
        "checksums": dict(file.checksums),
        "metadata": dict(file.metadata),
        "created_at": format_timestamp(file.created_at),
        "expires_at": format_timestamp(file.expires_at),
        "urls": {"get": build_download_url(base_url, file, signing_key)},
        **({} if file.is_uploaded else {"status": "awaiting_upload"}),
    }


@dataclass(frozen=True)
class _Views:
    """Files as JSON, with addresses on the origin that the caller used."""

    signing_key: Callable[[], bytes]
    public_base_url: str

    def base_url(self, request: Request) -> str:
        return self.public_base_url or request.base_url

    def of(self, request: Request, file: StoredFile) -> dict[str, Any]:
        return build_file_view(file, base_url=self.base_url(request), signing_key=self.signing_key())


def file_routes(files: FileService, *, signing_key: Callable[[], bytes], public_base_url: str = "") -> Router:
    """Writing asks for the scope files:write, reading for predictions:read, a download for its signature."""
    routes = Router()
    views = _Views(signing_key, public_base_url)
    _add_writing(routes, files, views)
    _add_reading(routes, files, views)
    return routes


def _add_writing(routes: Router, files: FileService, views: _Views) -> None:
    @routes.post("/v1/files")
    def create(request: Request) -> Response:
        request.principal.require(Scope.FILES_WRITE)
        form = parse_file_form(request.headers.get("content-type", ""), request.body)
        return json_response(201, views.of(request, files.create(request.principal.tenant, form)))

    @routes.post("/v1/uploads")
    def announce(request: Request) -> Response:
        request.principal.require(Scope.FILES_WRITE)
        file, form = files.create_upload(
            request.principal.tenant, parse_body(CreateUploadBody, request.json())
        )
        upload = {"method": "POST", "url": form.url, "fields": dict(form.fields)}
        return json_response(201, {**views.of(request, file), "upload": upload})

    @routes.delete("/v1/files/{id}")
    def delete(request: Request) -> Response:
        request.principal.require(Scope.FILES_WRITE)
        files.delete(request.principal.tenant, request.path_params["id"])
        return json_response(204, None)


def _add_reading(routes: Router, files: FileService, views: _Views) -> None:
    @routes.get("/v1/files")
    def list_files(request: Request) -> Response:
        request.principal.require(Scope.PREDICTIONS_READ)
        cursor = request.query.get("cursor")
        if cursor is not None and not is_id(cursor):
            raise field_error("cursor", "is not one that an earlier page gave")
        page = files.list_files(request.principal.tenant, before_id=cursor)
        following = (
            f"{views.base_url(request)}/v1/files?cursor={page.next_before_id}"
            if page.next_before_id
            else None
        )
        results = [views.of(request, file) for file in page.files]
        return json_response(200, {"next": following, "previous": None, "results": results})

    @routes.get("/v1/files/{id}")
    def get(request: Request) -> Response:
        request.principal.require(Scope.PREDICTIONS_READ)
        return json_response(
            200, views.of(request, files.get(request.principal.tenant, request.path_params["id"]))
        )

    @routes.get("/v1/files/{id}/download")
    def download(request: Request) -> Response:
        ticket = SignedDownload.parse(request.path_params["id"], request.query)
        if ticket is None:
            raise NotFoundError("no such file")
        # Bytes cannot pass through a function beyond 6 MB; the store gives any size, and ranges of it.
        return json_response(302, None, {"location": files.create_download_url(ticket)})
