"""/v1/files and /v1/uploads"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.scopes import Scope
from replicate_proxy.errors import NotFoundError
from replicate_proxy.files.addresses import DownloadTicket
from replicate_proxy.files.form import read_form
from replicate_proxy.files.uploads import UploadRequest
from replicate_proxy.files.views import file_view
from replicate_proxy.ids import is_id
from replicate_proxy.validation import checked, invalid
from replicate_proxy.web import Routes, json_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.files.model import StoredFile
    from replicate_proxy.files.service import Files
    from replicate_proxy.web import Request, Response

__all__ = ["file_routes"]


@dataclass(frozen=True)
class _Views:
    """Files as JSON, with addresses on the origin that the caller used."""

    signing_key: Callable[[], bytes]
    public_base_url: str

    def base_url(self, request: Request) -> str:
        return self.public_base_url or request.base_url

    def of(self, request: Request, file: StoredFile) -> dict[str, Any]:
        return file_view(file, base_url=self.base_url(request), signing_key=self.signing_key())


def file_routes(files: Files, *, signing_key: Callable[[], bytes], public_base_url: str = "") -> Routes:
    """Writing asks for the scope files:write, reading for predictions:read, a download for its signature."""
    routes = Routes()
    views = _Views(signing_key, public_base_url)
    _add_writing(routes, files, views)
    _add_reading(routes, files, views)
    return routes


def _add_writing(routes: Routes, files: Files, views: _Views) -> None:
    @routes.post("/v1/files")
    def create(request: Request) -> Response:
        request.principal.require(Scope.FILES_WRITE)
        form = read_form(request.headers.get("content-type", ""), request.body)
        return json_response(201, views.of(request, files.create(request.principal.tenant, form)))

    @routes.post("/v1/uploads")
    def announce(request: Request) -> Response:
        request.principal.require(Scope.FILES_WRITE)
        file, form = files.announce(request.principal.tenant, checked(UploadRequest, request.json()))
        upload = {"method": "POST", "url": form.url, "fields": dict(form.fields)}
        return json_response(201, {**views.of(request, file), "upload": upload})

    @routes.delete("/v1/files/{id}")
    def delete(request: Request) -> Response:
        request.principal.require(Scope.FILES_WRITE)
        files.delete(request.principal.tenant, request.params["id"])
        return json_response(204, None)


def _add_reading(routes: Routes, files: Files, views: _Views) -> None:
    @routes.get("/v1/files")
    def list_files(request: Request) -> Response:
        request.principal.require(Scope.PREDICTIONS_READ)
        cursor = request.query.get("cursor")
        if cursor is not None and not is_id(cursor):
            raise invalid("cursor", "is not one that an earlier page gave")
        page = files.page(request.principal.tenant, below=cursor)
        following = (
            f"{views.base_url(request)}/v1/files?cursor={page.next_before}" if page.next_before else None
        )
        results = [views.of(request, file) for file in page.files]
        return json_response(200, {"next": following, "previous": None, "results": results})

    @routes.get("/v1/files/{id}")
    def get(request: Request) -> Response:
        request.principal.require(Scope.PREDICTIONS_READ)
        return json_response(
            200, views.of(request, files.get(request.principal.tenant, request.params["id"]))
        )

    @routes.get("/v1/files/{id}/download")
    def download(request: Request) -> Response:
        ticket = DownloadTicket.read(request.params["id"], request.query)
        if ticket is None:
            raise NotFoundError("no such file")
        # Bytes cannot pass through a function beyond 6 MB; the store gives any size, and ranges of it.
        return json_response(302, None, {"location": files.download(ticket)})
