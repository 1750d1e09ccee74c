"""All pages of the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.console.api_docs import add_api_docs
from replicate_proxy.console.page import Site
from replicate_proxy.console.pages.audit import add_audit_page
from replicate_proxy.console.pages.batches import add_batch_pages
from replicate_proxy.console.pages.bulk_operations import add_bulk_operation_pages
from replicate_proxy.console.pages.concurrency import add_concurrency_page
from replicate_proxy.console.pages.dead_letters import add_dead_letter_pages
from replicate_proxy.console.pages.deliveries import add_delivery_pages
from replicate_proxy.console.pages.models import add_model_pages
from replicate_proxy.console.pages.overview import add_overview_page
from replicate_proxy.console.pages.predictions import add_prediction_pages
from replicate_proxy.console.pages.replays import add_replay_page
from replicate_proxy.console.pages.sign_in import add_sign_in_pages
from replicate_proxy.console.pages.tenants import add_tenant_pages
from replicate_proxy.console.pages.usage import add_usage_page
from replicate_proxy.console.pages_router import PageRouter
from replicate_proxy.console.responses import build_content_policy
from replicate_proxy.console.templates import Templates

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_proxy.api.routing import Router
    from replicate_proxy.console.access import ConsoleAccess
    from replicate_proxy.console.services import ConsoleServices


def build_console_router(
    folder: Path, services: ConsoleServices, access: ConsoleAccess, *, public_base_url: str = ""
) -> Router:
    """Return the routes of the console; `folder` has its templates and static files."""
    site = Site(
        Templates(folder),
        build_content_policy(services.images_url),
        services.clock,
        public_base_url,
    )
    pages = PageRouter(site, access)
    add_sign_in_pages(pages)
    add_overview_page(pages, services)
    add_prediction_pages(pages, services)
    add_batch_pages(pages, services)
    add_bulk_operation_pages(pages, services)
    add_delivery_pages(pages, services)
    add_dead_letter_pages(pages, services)
    add_replay_page(pages, services)
    add_model_pages(pages, services)
    add_usage_page(pages, services)
    add_tenant_pages(pages, services)
    add_concurrency_page(pages, services)
    add_audit_page(pages, services)
    add_api_docs(pages.router, site, folder)
    return pages.router
