"""Uploaded files (OpenAPI document, files.*)."""

import json
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tools.simulator.files import LARGEST, Upload
from tools.simulator.problems import InvalidField, ProblemError, invalid_input, not_found
from tools.simulator.routes.common import listing, reply, simulator


async def upload(request: Request) -> Response:
    """POST /files: multipart with `content`, and optionally `filename`, `type`, `metadata`."""
    async with request.form(max_part_size=LARGEST) as form:
        content = form.get("content")
        if not isinstance(content, UploadFile):
            raise invalid_input(InvalidField("required", "", "content is required"))
        body = await content.read()
        if len(body) > LARGEST:
            raise ProblemError(413, "Files must be less than 100MB in size")
        stored = simulator(request).uploads.add(
            str(form.get("filename") or content.filename or "file"),
            str(form.get("type") or content.content_type or "application/octet-stream"),
            body,
            await _metadata(form.get("metadata")),
        )
    return reply(simulator(request).uploads.shown(stored), 201)


async def list_files(request: Request) -> Response:
    """GET /files."""
    uploads = simulator(request).uploads
    return reply(listing([uploads.shown(stored) for stored in uploads.all()]))


async def get(request: Request) -> Response:
    """GET /files/{id}."""
    return reply(simulator(request).uploads.shown(_stored(request)))


async def delete(request: Request) -> Response:
    """DELETE /files/{id}."""
    if not simulator(request).uploads.remove(request.path_params["id"]):
        raise _missing()
    return Response(status_code=204)


async def download(request: Request) -> Response:
    """GET /files/{id}/download?owner&expiry&signature."""
    query, stored = request.query_params, _stored(request)
    try:
        expiry = int(query.get("expiry", ""))
    except ValueError as error:
        raise _missing() from error
    allowed = simulator(request).uploads.may_download(
        stored.id, query.get("owner", ""), expiry, query.get("signature", "")
    )
    if not allowed:
        raise _missing()
    return Response(stored.body, media_type=stored.content_type)


async def _metadata(part: Any) -> dict[str, Any]:
    if part is None:
        return {}
    text = await part.read() if isinstance(part, UploadFile) else part
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise invalid_input(InvalidField("format", "metadata", "metadata must be valid JSON")) from error
    if not isinstance(metadata, dict):
        raise invalid_input(InvalidField("invalid_type", "metadata", "metadata must be a JSON object"))
    return metadata


def _stored(request: Request) -> Upload:
    stored = simulator(request).uploads.get(request.path_params["id"])
    if stored is None:
        raise _missing()
    return stored


def _missing() -> ProblemError:
    return ProblemError(not_found().status, "File not found")


ROUTES = [
    Route("/v1/files", upload, methods=["POST"]),
    Route("/v1/files", list_files, methods=["GET"]),
    Route("/v1/files/{id}", get, methods=["GET"]),
    Route("/v1/files/{id}", delete, methods=["DELETE"]),
    Route("/v1/files/{id}/download", download, methods=["GET"]),
]
