"""Routes of model entries."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import PutModelEntriesBody, PutModelEntryBody
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.errors import field_error
from replicate_proxy.model_entries.entry import FallbackTarget, ModelEntry

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.model_entries.document import EntryDocument
    from replicate_proxy.operations.model_entries import ModelEntryService

_ENTRY = "/admin/models/{owner}/{name}"


def add_model_entry_routes(router: Router, entries: ModelEntryService) -> None:
    """Register the routes of model entries. A change is conditional if it has `If-Match`."""

    @router.get("/admin/models", query=())
    def list_entries(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return _respond_with_document(entries.read())

    @router.put("/admin/models")
    def replace_entries(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(PutModelEntriesBody, request.json(max_bytes=1_000_000))
        by_name = {entry.name: build_entry(entry.name, entry) for entry in body.models}
        if len(by_name) < len(body.models):
            raise field_error("models", "must have one entry for each name")
        return _respond_with_document(entries.replace_all(by_name, if_match=_if_match(request)))

    @router.get(_ENTRY)
    def get_entry(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        entry, document = entries.get(_name(request))
        return json_response(200, build_entry_view(entry), {"etag": document.etag})

    @router.put(_ENTRY)
    def put_entry(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        name = _name(request)
        body = parse_body(PutModelEntryBody, request.json())
        # The name in the path has the same rules.
        parse_body(PutModelEntryBody, {"name": name})
        if body.name not in (None, name):
            raise field_error("name", "must be the name in the path, or be left out")
        document = entries.put(build_entry(name, body), if_match=_if_match(request))
        return json_response(200, build_entry_view(document.entries[name]), {"etag": document.etag})

    @router.delete(_ENTRY)
    def delete_entry(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        entries.delete(_name(request), if_match=_if_match(request))
        return json_response(204, None)


def build_entry_view(entry: ModelEntry) -> dict[str, Any]:
    """Return the entry as the API shows and takes it."""
    return asdict(entry)


def _respond_with_document(document: EntryDocument) -> Response:
    views = [build_entry_view(entry) for entry in document.entries.values()]
    return json_response(200, {"models": views}, {"etag": document.etag})


def build_entry(name: str, body: PutModelEntryBody) -> ModelEntry:
    """Return the entry that a body describes."""
    return ModelEntry(
        name=name,
        target=body.target,
        description=body.description,
        defaults=body.defaults,
        forced=body.forced,
        allowed_tenants=body.allowed_tenants,
        timeout_seconds=body.timeout_seconds,
        max_concurrency=body.max_concurrency,
        images=body.images.model_dump(exclude_none=True),
        price=body.price.to_record() if body.price else None,
        cost_ceiling_usd=body.cost_ceiling_usd,
        fallbacks=tuple(
            FallbackTarget(
                target=fallback.target,
                fields=fallback.fields,
                price=fallback.price.to_record() if fallback.price else None,
            )
            for fallback in body.fallbacks
        ),
        fallback_on=body.fallback_on,
        fallback_after_seconds=body.fallback_after_seconds,
        validate_input=body.validate_input,
    )


def _name(request: Request) -> str:
    return f"{request.path_params['owner']}/{request.path_params['name']}"


def _if_match(request: Request) -> str | None:
    return request.headers.get("if-match")
