"""The routes of predictions and batches over the whole pipeline in memory."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from replicate_proxy.api.batches import add_batch_read_routes, add_batch_write_routes
from replicate_proxy.api.health import add_health_routes
from replicate_proxy.api.http import Response
from replicate_proxy.api.predictions.create_routes import add_prediction_create_routes
from replicate_proxy.api.predictions.end_routes import add_prediction_end_routes
from replicate_proxy.api.predictions.job_request_parser import JobRequestParser, ParserSettings
from replicate_proxy.api.predictions.read_routes import add_prediction_read_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.api.streams import STREAMS_RESOURCE, add_stream_routes
from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.batches.results import ResultReader
from replicate_proxy.contracts.stream_urls import KnownStream, StreamKind
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account, Submission
from replicate_proxy.replicate_api.known_models import KnownModels, name_target
from replicate_proxy.services.batch_list import BatchList
from replicate_proxy.services.batch_reader import BatchReader
from replicate_proxy.services.batch_results import BatchResults
from replicate_proxy.services.prediction_list import PredictionList
from replicate_proxy.services.progress_request import ProgressRequester
from replicate_proxy.services.query import PredictionReader
from replicate_proxy.services.rendering import MAX_PAGE_BYTES, PredictionRenderer
from replicate_proxy.services.stream_replay import StreamReplay
from replicate_proxy.services.stream_urls import StreamUrlWaiter
from replicate_proxy.services.wait import JobWaiter
from tests.support.access import FakeTenantStore
from tests.support.batches import LargeBatches
from tests.support.builders import VERSION, make_event
from tests.support.model_entries import FakeEntries
from tests.support.pipeline import OUTPUTS_URL, STREAM_KEY, Pipeline

NO_STREAM = KnownStream(StreamKind.NONE, OUTPUTS_URL)
CREATE_BODY = {"version": VERSION, "input": {"prompt": "a cat"}}
API_URL = "https://proxy.test/prod"


class FakeModels(KnownModels):
    """Known models without a table: `versions` by ID, and the names of `missing` targets."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.missing: set[str] = set()

    def find_model(self, version_id: str, account: Account = SHARED_ACCOUNT) -> str | None:
        return self.versions.get(version_id)

    def _is_missing(self, submission: Submission, account: Account) -> bool:
        return name_target(submission) in self.missing


class FakeProgressClaims:
    """Grants every claim or none, and counts them."""

    is_free = True
    count = 0

    def claim(self, tenant: str, job_id: str, *, until: datetime) -> bool:
        self.count += 1
        return self.is_free


class FakeWaitLimiter:
    """Lets every request wait, or none."""

    has_place = True

    def hold_place(self, _tenant: str) -> AbstractContextManager[bool]:
        return nullcontext(self.has_place)


class PredictionApi:
    """The routes of the ingest function (`writes`) and of the query function (`reads`).

    While a request waits, the clock advances and the pipeline works. Once `finishes_after` seconds have
    passed, Replicate finishes prediction `p1`.
    """

    def __init__(self, *, max_page_bytes: int = MAX_PAGE_BYTES) -> None:
        self.pipeline = Pipeline()
        self.pipeline.known_models.stream = NO_STREAM
        self.finishes_after = 1e9
        self.wait_limiter = FakeWaitLimiter()
        self.models = FakeModels()
        self.entries = FakeEntries()
        self.tenants = FakeTenantStore()
        self.large_batches = LargeBatches()
        self.progress_claims = FakeProgressClaims()
        self._renderer = PredictionRenderer(self.pipeline.documents, max_page_bytes=max_page_bytes)
        self._waiter = JobWaiter(
            self.pipeline.store, self.pipeline.clock, self._sleep, 25, limiter=self.wait_limiter
        )
        self.writes = self._build_writes()
        self.reads = self._build_reads()

    def _build_writes(self) -> Router:
        parser = JobRequestParser(
            ParserSettings(max_body_bytes=100_000),
            lambda *_: None,
            self.models,
            self.entries,
            self.pipeline.pause_switch.check,
            find_tenant=lambda name: self.tenants.get(name) or Tenant(name),
        )
        router = Router()
        add_prediction_create_routes(
            router,
            parser=parser,
            creator=self.pipeline.job_creator,
            waiter=self._waiter,
            stream_waiter=StreamUrlWaiter(self.pipeline.streams, self._waiter, 2),
            renderer=self._renderer,
        )
        add_prediction_end_routes(
            router,
            canceler=self.pipeline.canceler,
            deleter=self.pipeline.deleter,
            renderer=self._renderer,
        )
        add_batch_write_routes(
            router,
            parser=parser,
            batches=self.pipeline.batch_service,
            large_batches=self.large_batches.service,
            renderer=self._renderer,
            clock=self.pipeline.clock,
        )
        return router

    def _build_reads(self) -> Router:
        requester = ProgressRequester(
            self.progress_claims, self.pipeline.queue, self.pipeline.clock, min_interval_seconds=3
        )
        store = self.pipeline.batch_store
        router = Router()
        add_prediction_read_routes(
            router,
            PredictionReader(self.pipeline.store, self._renderer, requester),
            PredictionList(self.pipeline.store, store.get, self._renderer),
        )
        large = self.large_batches
        add_batch_read_routes(
            router,
            batches=BatchReader(store, self.pipeline.batch_counts),
            batch_list=BatchList(store, self.pipeline.batch_counts),
            results=BatchResults(ResultReader(large.objects, large.jobs, large.documents), large.objects),
            renderer=self._renderer,
            clock=self.pipeline.clock,
        )
        add_health_routes(router)
        replay = StreamReplay(
            self.pipeline.store,
            self.pipeline.documents,
            self._waiter,
            lambda: STREAM_KEY,
            max_wait_seconds=25,
        )
        add_stream_routes(router, replay)
        return router

    def _sleep(self, seconds: float) -> None:
        self.pipeline.clock.advance(seconds)
        self.pipeline.drain_messages()
        if (
            self.pipeline.elapsed_seconds >= self.finishes_after
            and "p1" in self.pipeline.replicate.predictions
        ):
            self.pipeline.replicate.finish("p1")
            self.pipeline.send_webhook("p1")
            self.pipeline.drain_messages()

    def post(
        self, resource: str = "/v1/predictions", body: Any = CREATE_BODY, **fields: Any
    ) -> tuple[int, Any, Any]:
        """Return status, parsed body and headers."""
        return _parse(self.writes.handle(make_event("POST", resource, body=body, **fields)))

    def get(self, resource: str, **fields: Any) -> tuple[int, Any, Any]:
        """Return status, parsed body and headers."""
        return _parse(self.reads.handle(make_event("GET", resource, **fields)))

    def read_stream(self, url: str, *, last_event_id: str = "") -> tuple[int, str]:
        """Return status and body of a stream URL."""
        response = self.request_stream(url, last_event_id=last_event_id)
        return response["statusCode"], response["body"]

    def request_stream(self, url: str, *, last_event_id: str = "") -> Response:
        """Return the response to a request as CloudFront sends it where Replicate has no such stream."""
        parts = urlsplit(url)
        return self.reads.handle(
            make_event(
                "GET",
                STREAMS_RESOURCE,
                params={"proxy": parts.path.strip("/")},
                query=dict(parse_qsl(parts.query)),
                headers={"last-event-id": last_event_id} if last_event_id else {},
            )
        )

    def get_prediction(self, prediction_id: str, **fields: Any) -> tuple[int, Any, Any]:
        return self.get("/v1/predictions/{id}", params={"id": prediction_id}, **fields)


def _parse(response: dict[str, Any]) -> tuple[int, Any, Any]:
    return response["statusCode"], json.loads(response["body"]), response["headers"]
