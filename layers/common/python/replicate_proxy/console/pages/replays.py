"""The page of replays of archived events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.admin.bodies import StartReplayBody
from replicate_proxy.api.admin.replays import build_replay_view
from replicate_proxy.api.validation import parse_body

if TYPE_CHECKING:
    from typing import Any

    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices


def add_replay_page(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the page of replays, for operators only."""
    replays = services.admin.replays

    @pages.get("/replays", operator=True)
    def show_replays(page: Page) -> Response:
        return _show(page, services)

    @pages.post("/replays", operator=True)
    def start_replay(page: Page) -> Response:
        def change() -> Response:
            fields = {
                "from": _add_zone(page.form.get("from")),
                "to": _add_zone(page.form.get("to")),
                "rules": page.form.get_all("rules"),
            }
            body = parse_body(StartReplayBody, fields)
            replays.start(body.start, body.end, body.rules)
            return page.redirect("/replays", notice="replay_started")

        return page.attempt(change, lambda problem: _show(page, services, problem=problem))

    @pages.post("/replays/{id}/cancel", operator=True)
    def cancel_replay(page: Page) -> Response:
        def change() -> Response:
            replays.cancel(page.request.path_params["id"])
            return page.redirect("/replays", notice="replay_canceled")

        return page.attempt(change, lambda problem: _show(page, services, problem=problem))


def _show(page: Page, services: ConsoleServices, *, problem: dict[str, Any] | None = None) -> Response:
    replays = services.admin.replays
    return page.render(
        "replays.html",
        has_archive=replays.has_archive,
        rules=replays.rules,
        replays=[build_replay_view(replay) for replay in replays.list()] if replays.has_archive else [],
        form=page.form if problem else None,
        problem=problem,
    )


def _add_zone(text: str) -> str:
    """Return a time of a form, which has no zone, as UTC."""
    return f"{text}Z" if text and not text.endswith("Z") else text
