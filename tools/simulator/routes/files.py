"""Routes for files: uploaded input files (OpenAPI document, files.*) and output files.

Output files are served as replicate.delivery serves them: public, cacheable, with byte ranges. An
Authorization header is ignored.
"""

import json
import re
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tools.simulator.output_files import FileContent
from tools.simulator.problems import InvalidField, ProblemError, invalid_input_error, not_found_error
from tools.simulator.routes.common import build_page, get_simulator, json_response
from tools.simulator.uploads import MAX_UPLOAD_BYTES, UploadedFile

_RANGE_PATTERN = re.compile(r"bytes=(\d*)-(\d*)")
_NO_SUCH_KEY_XML = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>NoSuchKey</Code></Error>"


async def upload_file(request: Request) -> Response:
    """POST /files: multipart with `content`, and optionally `filename`, `type`, `metadata`."""
    async with request.form(max_part_size=MAX_UPLOAD_BYTES) as form:
        content = form.get("content")
        if not isinstance(content, UploadFile):
            raise invalid_input_error(InvalidField("required", "", "content is required"))
        body = await content.read()
        if len(body) > MAX_UPLOAD_BYTES:
            raise ProblemError(413, "Files must be less than 100MB in size")
        file = get_simulator(request).uploads.add(
            str(form.get("filename") or content.filename or "file"),
            str(form.get("type") or content.content_type or "application/octet-stream"),
            body,
            await _parse_metadata(form.get("metadata")),
        )
    return json_response(get_simulator(request).uploads.build_view(file), 201)


async def list_files(request: Request) -> Response:
    """GET /files."""
    uploads = get_simulator(request).uploads
    return json_response(build_page(request, [uploads.build_view(file) for file in uploads.list_all()]))


async def read_file(request: Request) -> Response:
    """GET /files/{id}."""
    return json_response(get_simulator(request).uploads.build_view(_get_uploaded_file(request)))


async def delete_file(request: Request) -> Response:
    """DELETE /files/{id}."""
    if not get_simulator(request).uploads.remove(request.path_params["id"]):
        raise _file_not_found_error()
    return Response(status_code=204)


async def download_file(request: Request) -> Response:
    """GET /files/{id}/download?owner&expiry&signature."""
    query, file = request.query_params, _get_uploaded_file(request)
    try:
        expiry = int(query.get("expiry", ""))
    except ValueError as error:
        raise _file_not_found_error() from error
    is_allowed = get_simulator(request).uploads.is_valid_signature(
        file.id, query.get("owner", ""), expiry, query.get("signature", "")
    )
    if not is_allowed:
        raise _file_not_found_error()
    return Response(file.body, media_type=file.content_type)


async def read_output_file(request: Request) -> Response:
    """GET or HEAD of an output file; one byte range is supported."""
    simulator, path = get_simulator(request), request.url.path
    if path.startswith("/third-party/"):
        simulator.stats.third_party_downloads += 1
    content = simulator.output_files.get(path)
    if content is None:
        return Response(_NO_SUCH_KEY_XML, 404, media_type="application/xml")
    headers = {
        "etag": f'"{content.etag}"',
        "cache-control": "public,max-age=3600",
        "accept-ranges": "bytes",
        "access-control-allow-origin": "*",
        "content-type": content.content_type,
    }
    byte_range = _parse_range(request.headers.get("range"), content)
    if byte_range is None:
        return Response(content.body, headers=headers)
    start, end = byte_range
    if start >= end:
        return Response(status_code=416, headers={"content-range": f"bytes */{len(content.body)}"})
    headers["content-range"] = f"bytes {start}-{end - 1}/{len(content.body)}"
    return Response(content.body[start:end], 206, headers=headers)


def _parse_range(header: str | None, content: FileContent) -> tuple[int, int] | None:
    """Return start and end of the requested range; None for the whole file (RFC 9110, 14.1.2)."""
    match = _RANGE_PATTERN.fullmatch(header or "")
    if match is None or not any(match.groups()):
        return None
    size = len(content.body)
    if not match[1]:
        return max(0, size - int(match[2])), size
    end = int(match[2]) + 1 if match[2] else size
    return int(match[1]), min(end, size)


async def _parse_metadata(part: Any) -> dict[str, Any]:
    if part is None:
        return {}
    text = await part.read() if isinstance(part, UploadFile) else part
    try:
        metadata = json.loads(text)
    except ValueError as error:
        reason = InvalidField("format", "metadata", "metadata must be valid JSON")
        raise invalid_input_error(reason) from error
    if not isinstance(metadata, dict):
        raise invalid_input_error(InvalidField("invalid_type", "metadata", "metadata must be a JSON object"))
    return metadata


def _get_uploaded_file(request: Request) -> UploadedFile:
    file = get_simulator(request).uploads.get(request.path_params["id"])
    if file is None:
        raise _file_not_found_error()
    return file


def _file_not_found_error() -> ProblemError:
    return ProblemError(not_found_error().status, "File not found")


ROUTES = [
    Route("/v1/files", upload_file, methods=["POST"]),
    Route("/v1/files", list_files, methods=["GET"]),
    Route("/v1/files/{id}", read_file, methods=["GET"]),
    Route("/v1/files/{id}", delete_file, methods=["DELETE"]),
    Route("/v1/files/{id}/download", download_file, methods=["GET"]),
    Route("/delivery/{path:path}", read_output_file, methods=["GET", "HEAD"]),
    Route("/third-party/{path:path}", read_output_file, methods=["GET", "HEAD"]),
]
