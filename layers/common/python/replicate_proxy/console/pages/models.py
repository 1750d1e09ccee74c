"""Pages of model entries with their prices: list, edit as JSON, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import PutModelEntryBody
from replicate_proxy.api.admin.models import build_entry, build_entry_view
from replicate_proxy.api.validation import parse_body
from replicate_proxy.console.formatting import format_json
from replicate_proxy.costs.shipped_prices import load_hardware_prices
from replicate_proxy.errors import field_error
from replicate_proxy.model_entries.entry import ModelEntry

if TYPE_CHECKING:
    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.operations.model_entries import ModelEntryService

_ENTRY = "/models/{owner}/{name}"
_NEW_ENTRY = {
    "target": "",
    "description": "",
    "defaults": {},
    "price": {"per_image": "0.003", "source": "https://replicate.com/pricing", "as_of": "2026-01-01"},
}


def add_model_pages(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the pages of model entries."""
    entries = services.admin.model_entries

    @pages.get("/models", operator=True)
    def list_entries(page: Page) -> Response:
        document = entries.read()
        views = [build_entry_view(entry) for _, entry in sorted(document.entries.items())]
        prices = load_hardware_prices()
        return page.render("models.html", entries=views, hardware=prices)

    @pages.get("/models/new", operator=True)
    def show_new(page: Page) -> Response:
        return _show_entry(page, "", format_json(_NEW_ENTRY), "*")

    @pages.get(_ENTRY, operator=True)
    def show_entry(page: Page) -> Response:
        entry, document = entries.get(_name(page))
        view = build_entry_view(entry)
        # What is left out is what a save without the field sets.
        unset = build_entry_view(ModelEntry(name=entry.name))
        text = format_json({name: view[name] for name in view if name == "name" or view[name] != unset[name]})
        return _show_entry(page, entry.name, text, document.etag)

    @pages.post("/models/save", operator=True)
    def save(page: Page) -> Response:
        name, etag = page.form.get("name"), page.form.get("etag")
        is_new = page.form.get("is_new") == "true"
        return page.attempt(
            lambda: _save(page, entries, name, etag, is_new=is_new),
            lambda problem: _show_entry(
                page,
                "" if is_new else name,
                page.form.get_text("entry"),
                etag,
                problem=problem,
                typed_name=name,
            ),
        )

    @pages.post(f"{_ENTRY}/delete", operator=True)
    def delete(page: Page) -> Response:
        entries.delete(_name(page), if_match=page.form.get("etag") or None)
        return page.redirect("/models", notice="deleted")


def _save(page: Page, entries: ModelEntryService, name: str, etag: str, *, is_new: bool) -> Response:
    value = page.form.get_json("entry")
    if isinstance(value, dict):
        value = {**value, "name": name}
    body = parse_body(PutModelEntryBody, value)
    if body.name is None:
        raise field_error("name", "is required")
    if is_new:
        document = entries.read()
        if body.name in document.entries:
            raise field_error("name", "has an entry already: change that one")
        etag = document.etag
    entries.put(build_entry(body.name, body), if_match=etag or None)
    return page.redirect("/models", notice="saved")


def _show_entry(
    page: Page,
    name: str,
    text: str,
    etag: str,
    *,
    problem: dict[str, Any] | None = None,
    typed_name: str = "",
) -> Response:
    return page.render(
        "model.html",
        name=name,
        typed_name=typed_name or name,
        text=text,
        etag=etag,
        problem=problem,
    )


def _name(page: Page) -> str:
    return f"{page.request.path_params['owner']}/{page.request.path_params['name']}"
