"""Routes of pages: who may see them, and what protects their forms.

A page is answered only to a session; a form only if its request comes from our own page and has the token of
its session. Changes are recorded in the audit trail as made by the viewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from replicate_proxy.api.cors import CorsPolicy
from replicate_proxy.api.predictions.headers import parse_correlation_id
from replicate_proxy.api.routing import Router
from replicate_proxy.audit.actor import acting_as
from replicate_proxy.audit.model import Actor, AuditSource
from replicate_proxy.console.page import NOT_DONE, ROOT, Page, describe_error
from replicate_proxy.console.responses import html_response, redirect, redirect_whole_page
from replicate_proxy.errors import ApiError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.console.access import ConsoleAccess
    from replicate_proxy.console.page import Site
    from replicate_proxy.console.viewer import Viewer

type PageHandler = Callable[[Page], Response]

_SECURE_COOKIE = "__Host-console"
# Browsers accept the prefix over HTTPS only; the local stack has none.
_PLAIN_COOKIE = "console"
CSRF_FIELD = "csrf"
SIGN_OUT = "/sign-out"


class PageRouter:
    """Registers pages with a Router."""

    def __init__(self, site: Site, access: ConsoleAccess) -> None:
        self.site = site
        self.access = access
        self.router = Router(cors=CorsPolicy(), build_error_response=self._build_error_response)

    def get(self, path: str, *, operator: bool = False) -> Callable[[PageHandler], PageHandler]:
        """Register a page below /console; those of operators do not exist for tenants."""

        def register(handler: PageHandler) -> PageHandler:
            @self.router.get(f"{ROOT}{path}")
            def show(request: Request) -> Response:
                return self._handle(request, handler, operator=operator)

            return handler

        return register

    def post(
        self, path: str, *, operator: bool = False, writes: bool = True
    ) -> Callable[[PageHandler], PageHandler]:
        """Register the change that a form makes."""

        def register(handler: PageHandler) -> PageHandler:
            def change(page: Page) -> Response:
                viewer = page.signed_in_viewer
                if writes:
                    viewer.require_write()
                if not self.access.is_csrf_token(viewer, page.form.get(CSRF_FIELD)):
                    raise ApiError(403, "Form too old", "Go back, load the page again, and repeat the change")
                with acting_as(_build_actor(page.request, viewer)):
                    return handler(page)

            @self.router.post(f"{ROOT}{path}")
            def handle(request: Request) -> Response:
                return self._handle(request, change, operator=operator)

            return handler

        return register

    def open(self, method: str, path: str) -> Callable[[PageHandler], PageHandler]:
        """Register a page that needs no session, like that of the sign-in."""

        def register(handler: PageHandler) -> PageHandler:
            @self.router.add(method, f"{ROOT}{path}")
            def show(request: Request) -> Response:
                page = Page(self.site, request)
                try:
                    check_origin(page)
                    return handler(page)
                except Exception as error:  # noqa: BLE001 - shown as a page
                    return page.render_error(error)

            return handler

        return register

    def find_viewer(self, request: Request) -> Viewer | None:
        page = Page(self.site, request)
        return self.access.find_viewer(_read_cookie(page), page.source_ip)

    def _handle(self, request: Request, handler: PageHandler, *, operator: bool) -> Response:
        page = Page(self.site, request)
        try:
            viewer = self.find_viewer(request)
            if viewer is None:
                return _send_to_sign_in(page)
            page = Page(self.site, request, viewer)
            logger.append_keys(key_id=viewer.key_id, tenant=viewer.tenant)
            check_origin(page)
            if operator:
                viewer.require_operator()
            return handler(page)
        except Exception as error:  # noqa: BLE001 - shown as a page
            return page.render_error(error)

    def _build_error_response(self, error: Exception) -> Response:
        """Return the page of an error outside of all pages, such as an unknown address."""
        problem = describe_error(error)
        html = self.site.templates.render(
            "error_outside.html", now=self.site.clock.now(), problem=problem, styles=""
        )
        return html_response(problem["status"], html, self.site.content_policy)


def check_origin(page: Page) -> None:
    """Raise a 403 ApiError if a form was sent by another site's page; browsers always name the origin."""
    request = page.request
    if request.method != "POST":
        return
    own = {f"{_find_scheme(page)}://{request.headers.get('host', '')}"}
    if page.site.public_base_url:
        parts = urlsplit(page.site.public_base_url)
        own.add(f"{parts.scheme}://{parts.netloc}")
    if request.headers.get("origin") not in own:
        raise ApiError(403, "Foreign form", "The form was not sent by a page of this console")


def build_cookie(page: Page, value: str, *, max_age_seconds: int) -> str:
    """Return the Set-Cookie header; an empty value ends the session."""
    is_secure = _find_scheme(page) == "https"
    name, secure = (_SECURE_COOKIE, "; Secure") if is_secure else (_PLAIN_COOKIE, "")
    return f"{name}={value}; Path=/; Max-Age={max_age_seconds}; HttpOnly; SameSite=Strict{secure}"


def _read_cookie(page: Page) -> str:
    name = _SECURE_COOKIE if _find_scheme(page) == "https" else _PLAIN_COOKIE
    for part in page.request.headers.get("cookie", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def _find_scheme(page: Page) -> str:
    """Return http or https, as API Gateway says; the local stack, which does not, has a public base URL."""
    forwarded = page.request.headers.get("x-forwarded-proto")
    return forwarded or urlsplit(page.site.public_base_url).scheme or "https"


def _send_to_sign_in(page: Page) -> Response:
    """Ask for a sign-in, which leads back to a page. A form is lost: nothing of it is done."""
    is_page = page.request.method == "GET"
    notice = "" if is_page else NOT_DONE
    if page.request.resource == f"{ROOT}{SIGN_OUT}":
        notice = "signed_out"
    url = page.url("/sign-in", next=page.location if is_page else "", notice=notice)
    if "hx-request" in page.request.headers:
        return redirect_whole_page(url)
    return redirect(url)


def _build_actor(request: Request, viewer: Viewer) -> Actor:
    return Actor(
        key_id=viewer.key_id, source=AuditSource.CONSOLE, correlation_id=parse_correlation_id(request)
    )
