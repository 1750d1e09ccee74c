"""Pages of the dead-letter queues: how many messages they have, what these are, redrive and discard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.admin.bodies import DiscardBody, RedriveBody
from replicate_proxy.api.admin.dead_letters import build_dead_letter_view
from replicate_proxy.api.admin.status import build_queue_view
from replicate_proxy.api.validation import parse_body
from replicate_proxy.operations.dead_letters import DeadLetterFilter

if TYPE_CHECKING:
    from typing import Any

    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.operations.dead_letters import DeadLetter

_PEEK_LIMIT = 50
_QUEUE = "/dead-letters/{queue}"


def add_dead_letter_pages(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the pages of the dead-letter queues."""
    dead_letters = services.admin.dead_letters

    @pages.get("/dead-letters", operator=True)
    def list_queues(page: Page) -> Response:
        queues = [build_queue_view(name, pair) for name, pair in services.admin.queues.read().items()]
        states = [queue[kind] for queue in queues for kind in ("messages", "dead_letters")]
        reasons = [state["oldest_unknown_because"] for state in states if state is not None]
        unknown_reason = next(filter(None, reasons), None)
        return page.render("dead_letters.html", queues=queues, unknown_reason=unknown_reason)

    @pages.get(_QUEUE, operator=True)
    def show_queue(page: Page) -> Response:
        return _show_queue(page, services)

    @pages.post(f"{_QUEUE}/redrive", operator=True)
    def redrive(page: Page) -> Response:
        name = page.request.path_params["queue"]

        def change() -> Response:
            body = parse_body(RedriveBody, _read_filter(page))
            result = dead_letters.redrive(
                name, body.to_filter(), limit=body.limit, rate_per_second=body.rate_per_second
            )
            return page.render("dead_letters_done.html", queue=name, verb="redriven", result=result)

        return page.attempt(change, lambda problem: _show_queue(page, services, problem=problem))

    @pages.post(f"{_QUEUE}/discard", operator=True)
    def discard(page: Page) -> Response:
        name = page.request.path_params["queue"]

        def change() -> Response:
            body = parse_body(DiscardBody, _read_filter(page))
            result = dead_letters.discard(name, body.to_filter(), limit=body.limit)
            return page.render("dead_letters_done.html", queue=name, verb="discarded", result=result)

        return page.attempt(change, lambda problem: _show_queue(page, services, problem=problem))


def _show_queue(page: Page, services: ConsoleServices, *, problem: dict[str, Any] | None = None) -> Response:
    name = page.request.path_params["queue"]
    query = page.request.query
    message_filter = DeadLetterFilter(query.get("tenant") or None, query.get("job_id") or None)
    with_body = query.get("body") == "true"
    peeked = services.admin.dead_letters.peek(name, limit=_PEEK_LIMIT)
    messages = [
        _build_view(message, with_body=with_body)
        for message in peeked.messages
        if message_filter.matches(message)
    ]
    return page.render(
        "dead_letter_queue.html",
        name=name,
        queue=peeked.queue,
        depth=peeked.depth,
        messages=messages,
        peeked=len(peeked.messages),
        with_body=with_body,
        problem=problem,
    )


def _build_view(message: DeadLetter, *, with_body: bool) -> dict[str, Any]:
    """Return the message with a tenant and job of its own, None where it has neither."""
    view = build_dead_letter_view(message, with_body=with_body)
    return {"tenant": None, "job_id": None, "body": None, **view}


def _read_filter(page: Page) -> dict[str, Any]:
    """Return the body of a redrive or discard that the form asks for."""
    values: dict[str, Any] = {
        "tenant": page.form.get("tenant") or None,
        "job_id": page.form.get("job_id") or None,
        "message_ids": page.form.get_all("message_ids"),
    }
    return values
