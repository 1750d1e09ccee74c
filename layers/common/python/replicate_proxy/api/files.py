"""Routes of input files: `/v1/files` in Replicate's shape, and `/v1/uploads` for large files, also in parts.

Writing requires the scope files:write, reading predictions:read. A download requires no API key, because
Replicate fetches it: the signature in the URL is the credential.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from replicate_proxy.api.http import json_response
from replicate_proxy.api.multipart_form import MAX_METADATA_BYTES, parse_file_form
from replicate_proxy.api.pagination import build_page, decode_id_cursor
from replicate_proxy.api.validation import RequestBody, parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.files.model import normalize_media_type, sanitize_file_name
from replicate_proxy.files.signed_downloads import SignedDownload, build_download_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.files.model import StoredFile
    from replicate_proxy.files.ports import PartUpload, UploadForm
    from replicate_proxy.files.service import FileService

    type RenderFile = Callable[[Request, StoredFile], dict[str, Any]]


# A Lambda event is limited to 6 MB (AWS Lambda, quotas), in which a form is Base64 and has headers beside it.
_MAX_FORM_BYTES = 4_600_000


def _limit_metadata_size(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(metadata)) > MAX_METADATA_BYTES:
        raise ValueError(f"must not be larger than {MAX_METADATA_BYTES} bytes")
    return metadata


class CreateUploadBody(RequestBody):
    """POST /v1/uploads: the file to come. `size` is in bytes; if given, no other size is accepted."""

    filename: Annotated[str, AfterValidator(sanitize_file_name)]
    content_type: Annotated[str, StringConstraints(max_length=200), AfterValidator(normalize_media_type)] = (
        "application/octet-stream"
    )
    size: Annotated[int, Field(ge=1)] | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(_limit_metadata_size)] = Field(default_factory=dict)


def build_file_view(file: StoredFile, *, base_url: str, signing_key: bytes) -> dict[str, Any]:
    """Return the file in Replicate's shape; the Python client also reads `name` and `etag`.

    Clients pass `urls.get` as a prediction's input, so it is the signed download URL.
    """
    view = {
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
    }
    return view if file.is_uploaded else {**view, "status": "awaiting_upload"}


def build_upload_view(
    request: Request, file: StoredFile, upload: UploadForm | tuple[PartUpload, ...]
) -> dict[str, Any]:
    """Return how to send the content: as one form, or in parts, of which all missing ones are listed."""
    if not isinstance(upload, tuple):
        return {"method": "POST", "url": upload.url, "fields": dict(upload.fields)}
    return {
        "method": "PUT",
        "parts": [{"part_number": part.number, "size": part.size_bytes, "url": part.url} for part in upload],
        "complete_url": f"{request.base_url}/v1/uploads/{file.id}/complete",
    }


def add_file_routes(router: Router, files: FileService, *, load_signing_key: Callable[[], bytes]) -> None:
    """Register all routes of files and uploads. The key signs the download URLs."""

    def render(request: Request, file: StoredFile) -> dict[str, Any]:
        return build_file_view(file, base_url=request.base_url, signing_key=load_signing_key())

    _add_write_routes(router, files, render)
    _add_read_routes(router, files, render)


def _add_write_routes(router: Router, files: FileService, render: RenderFile) -> None:
    @router.post("/v1/files")
    def create_file(request: Request) -> Response:
        tenant = request.principal.require(Scope.FILES_WRITE).tenant
        if len(request.body) > _MAX_FORM_BYTES:
            detail = (
                f"The form has {len(request.body)} bytes, the limit is {_MAX_FORM_BYTES};"
                " upload larger files with POST /v1/uploads"
            )
            raise ApiError(413, "File too large", detail)
        form = parse_file_form(request.headers.get("content-type", ""), request.body)
        file = files.create(
            tenant, form.content, name=form.name, content_type=form.content_type, metadata=form.metadata
        )
        return json_response(201, render(request, file))

    @router.post("/v1/uploads")
    def create_upload(request: Request) -> Response:
        tenant = request.principal.require(Scope.FILES_WRITE).tenant
        body = parse_body(CreateUploadBody, request.json())
        file, upload = files.create_upload(
            tenant,
            name=body.filename,
            content_type=body.content_type,
            metadata=body.metadata,
            size_bytes=body.size,
        )
        return json_response(
            201, {**render(request, file), "upload": build_upload_view(request, file, upload)}
        )

    @router.get("/v1/uploads/{id}")
    def resume_upload(request: Request) -> Response:
        tenant = request.principal.require(Scope.FILES_WRITE).tenant
        file, parts = files.resume_upload(tenant, request.path_params["id"])
        return json_response(
            200, {**render(request, file), "upload": build_upload_view(request, file, parts)}
        )

    @router.post("/v1/uploads/{id}/complete")
    def complete_upload(request: Request) -> Response:
        tenant = request.principal.require(Scope.FILES_WRITE).tenant
        return json_response(200, render(request, files.complete_upload(tenant, request.path_params["id"])))

    @router.delete("/v1/files/{id}")
    def delete_file(request: Request) -> Response:
        tenant = request.principal.require(Scope.FILES_WRITE).tenant
        files.delete(tenant, request.path_params["id"])
        return json_response(204, None)


def _add_read_routes(router: Router, files: FileService, render: RenderFile) -> None:
    @router.get("/v1/files", query=("cursor",))
    def list_files(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        page = files.list_files(tenant, before_id=decode_id_cursor(request.query.get("cursor")))
        results = [render(request, file) for file in page.files]
        next_position = (page.next_before_id,) if page.next_before_id else None
        return json_response(200, build_page(request, results, next_position))

    @router.get("/v1/files/{id}")
    def get_file(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        return json_response(200, render(request, files.get(tenant, request.path_params["id"])))

    @router.get("/v1/files/{id}/download")
    @router.head("/v1/files/{id}/download")
    def download_file(request: Request) -> Response:
        download = SignedDownload.parse(request.path_params["id"], request.query)
        if download is None:
            raise NotFoundError("no such file")
        # A Lambda response is limited to 6 MB; S3 serves any size, and ranges. Its URLs are for one method.
        url = files.create_download_url(download, method=request.method)
        return json_response(302, None, {"location": url})
