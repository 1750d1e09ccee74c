"""The routes of streams that are rendered from the record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from replicate_proxy.api.streams import add_stream_routes
from replicate_proxy.aws.wait_limiter import ControlTableWaitLimiter
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.job_stores import build_job_store
from replicate_proxy.bootstrap.private_urls import build_url_signer
from replicate_proxy.bootstrap.secrets import load_stream_signing_key
from replicate_proxy.services.stream_replay import StreamReplay
from replicate_proxy.services.wait import JobWaiter
from replicate_proxy.settings import (
    MAX_WAITING_REQUESTS,
    MAX_WAITING_REQUESTS_PER_TENANT,
    PRIVATE_OUTPUT_SECONDS,
)

if TYPE_CHECKING:
    from replicate_proxy.api.routing import Router


# The Python client gives up after 30 seconds without a byte, as API Gateway does by default.
_MAX_STREAM_WAIT_SECONDS = 25


def add_stream_reads(router: Router) -> None:
    limiter = ControlTableWaitLimiter(
        build_control_table(), clock, env[MAX_WAITING_REQUESTS], env[MAX_WAITING_REQUESTS_PER_TENANT]
    )
    waiter = JobWaiter(build_job_store(), clock, time.sleep, _MAX_STREAM_WAIT_SECONDS, limiter=limiter)
    replay = StreamReplay(
        build_job_store(),
        build_document_store(),
        waiter,
        load_stream_signing_key,
        _MAX_STREAM_WAIT_SECONDS,
        build_url_signer().sign_urls,
        private_seconds=env[PRIVATE_OUTPUT_SECONDS],
    )
    add_stream_routes(router, replay)
