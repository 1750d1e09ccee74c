"""The routes that read batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.batches import add_batch_read_routes
from replicate_proxy.bootstrap.batch_results import build_batch_counts, build_batch_results
from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.bootstrap.job_stores import build_batch_store
from replicate_proxy.bootstrap.rendering import build_renderer
from replicate_proxy.services.batch_list import BatchList
from replicate_proxy.services.batch_reader import BatchReader

if TYPE_CHECKING:
    from replicate_proxy.api.routing import Router


def add_batch_reads(router: Router) -> None:
    store, counts = build_batch_store(), build_batch_counts()
    add_batch_read_routes(
        router,
        batches=BatchReader(store, counts),
        batch_list=BatchList(store, counts),
        results=build_batch_results(),
        renderer=build_renderer(),
        clock=clock,
    )
