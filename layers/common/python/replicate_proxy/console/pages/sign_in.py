"""Sign-in with an API key, links that open a view, sign-out, and the files of all pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.tenants import is_tenant_name
from replicate_proxy.console.pages_router import SIGN_OUT, build_cookie
from replicate_proxy.console.responses import static_response
from replicate_proxy.errors import NotFoundError, field_error

if TYPE_CHECKING:
    from replicate_proxy.api.http import Response
    from replicate_proxy.console.access import ConsoleAccess
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.session import Session

# A page of the console with its parameters. A second slash would make a browser leave for another host.
_NEXT_PATH = re.compile(r"(?:/[A-Za-z0-9._~%-]+)*(?:\?[A-Za-z0-9._~%=&+*-]+)?", re.ASCII)


def add_sign_in_pages(pages: PageRouter) -> None:
    """Register the pages that need no session, and those that open or end one."""
    _add_files(pages)
    _add_form(pages)
    _add_links(pages)


def _add_files(pages: PageRouter) -> None:
    @pages.open("GET", "/static/{name}")
    def get_file(page: Page) -> Response:
        file = page.site.templates.find_file(page.request.path_params["name"])
        if file is None:
            raise NotFoundError("no such file")
        return static_response(file)


def _add_form(pages: PageRouter) -> None:
    access = pages.access

    @pages.open("GET", "/sign-in")
    def show_sign_in(page: Page) -> Response:
        if pages.find_viewer(page.request) is not None:
            return page.redirect("")
        return _show_form(page, page.request.query.get("next", ""))

    @pages.open("POST", "/sign-in")
    def sign_in(page: Page) -> Response:
        def change() -> Response:
            session = access.sign_in(page.form.get("key"), page.source_ip)
            return _open(page, access, session, page.form.get("next"))

        return page.attempt(change, lambda problem: _show_form(page, page.form.get("next"), problem=problem))

    @pages.post(SIGN_OUT, writes=False)
    def sign_out(page: Page) -> Response:
        response = page.redirect("/sign-in", notice="signed_out")
        cookie = build_cookie(page, "", max_age_seconds=0)
        return {**response, "headers": {**response["headers"], "set-cookie": cookie}}


def _add_links(pages: PageRouter) -> None:
    access = pages.access

    @pages.open("GET", "/link")
    def show_link(page: Page) -> Response:
        # Opening it takes a form, since previews of chats and mails read every link.
        return page.render("link.html", token=page.request.query.get("token", ""))

    @pages.open("POST", "/link")
    def open_link(page: Page) -> Response:
        return _open(page, access, access.open_link(page.form.get("token"), page.source_ip), "")

    @pages.post("/links", operator=True)
    def create_link(page: Page) -> Response:
        tenant = page.form.get("tenant")
        if not is_tenant_name(tenant):
            raise field_error("tenant", "is not the name of a tenant")
        token = access.create_link(page.signed_in_viewer, tenant)
        link = f"{page.public_base_url}/console/link?token={token}"
        return page.render("link_created.html", tenant=tenant, link=link)


def _open(page: Page, access: ConsoleAccess, session: Session, next_path: str) -> Response:
    seconds = int((datetime.fromtimestamp(session.expires_at, UTC) - page.now).total_seconds())
    cookie = build_cookie(page, access.encode(session), max_age_seconds=seconds)
    response = page.redirect(next_path if _NEXT_PATH.fullmatch(next_path) else "")
    return {**response, "headers": {**response["headers"], "set-cookie": cookie}}


def _show_form(page: Page, next_path: str, *, problem: dict[str, Any] | None = None) -> Response:
    return page.render("sign_in.html", next=next_path, problem=problem)
