"""The functions that handle what Replicate reports: webhook, track and harvest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.replicate_api.callback_url import CallbackUrls
from replicate_proxy.services.harvest import JobHarvester
from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler
from replicate_proxy.services.reports import ReportLoader, ReportPublisher
from replicate_proxy.services.track import Tracker
from tools.simulation.accounts import SHARED_SECRET
from tools.simulation.functions.components import ROOT_SECRET, Components
from tools.simulation.functions.output_harvester import SimulatedOutputHarvester
from tools.simulation.functions.replicate_access import build_secret_reader, name_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.jobs.model import Account


@dataclass(frozen=True)
class Reports:
    """Track and harvest: a loader of reports, and what handles them."""

    loader: ReportLoader
    tracker: Tracker
    harvester: JobHarvester


def build_webhook(components: Components) -> ReplicateWebhookHandler:
    reader = build_secret_reader(components)

    def read_secrets(account: Account, refresh: bool) -> Sequence[str]:
        if account.is_shared:
            return [SHARED_SECRET]
        return reader.get_list(name_secret(account), refresh=refresh)

    return ReplicateWebhookHandler(
        secrets=read_secrets,
        urls=CallbackUrls("", ROOT_SECRET),
        reports=ReportPublisher(components.bus, components.documents),
        clock=components.clock,
        checkpoint=components.checkpoint,
    )


def build_reports(components: Components) -> Reports:
    harvester = JobHarvester(
        updater=components.updater,
        documents=components.documents,
        output_harvester=SimulatedOutputHarvester(
            components.aws, components.replicate, components.plan, components.scheduler
        ),
        queue=components.harvest_queue,
        clock=components.clock,
        default_image_options=lambda _: ImageOptions(),
        checkpoint=components.checkpoint,
    )
    tracker = Tracker(
        updater=components.updater,
        documents=components.documents,
        queue=components.dispatch_queue,
        checkpoint=components.checkpoint,
    )
    return Reports(ReportLoader(components.documents), tracker, harvester)
