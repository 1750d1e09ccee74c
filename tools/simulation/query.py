"""The query function behind its URLs: its real routes, from API Gateway's event to the response."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from replicate_proxy.api.batches import add_batch_read_routes
from replicate_proxy.api.cors import CorsPolicy
from replicate_proxy.api.predictions.read_routes import add_prediction_read_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.auth.principal import Scope
from replicate_proxy.aws.batch_objects import S3BatchObjects
from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.usage_store import DynamoBatchCounts
from replicate_proxy.batches.results import ResultReader
from replicate_proxy.outputs.private_urls import refuse_private
from replicate_proxy.services.batch_list import BatchList
from replicate_proxy.services.batch_reader import BatchReader
from replicate_proxy.services.batch_results import BatchResults
from replicate_proxy.services.prediction_list import PredictionList
from replicate_proxy.services.query import PredictionReader
from replicate_proxy.services.rendering import PredictionRenderer
from tools.simulation.lambda_service import EnvironmentPool
from tools.simulation.resources import BUCKET, Table
from tools.simulation.scheduler import ProcessEndedError
from tools.simulation.world import ServiceUnavailableError

if TYPE_CHECKING:
    from tools.simulation.aws import InMemoryAws
    from tools.simulation.functions.components import Components
    from tools.simulation.world import World

BASE_URL = "https://api.proxy.test/prod"
# A page of the search ends by the number of its predictions, or by its size.
_MAX_PAGE_BYTES = 4000
_TIMEOUT_SECONDS = 29.0
_SERVER_ERROR = 500
_ROUTES = {
    re.compile(resource.replace("{id}", "(?P<id>[^/]+)")): resource
    for resource in ("/v1/predictions", "/v1/batches/{id}/results")
}
_NEXT = re.compile(r'<([^>]+)>; rel="next"')


@dataclass(frozen=True, slots=True)
class QueryResponse:
    """A response that is no 5xx."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def next_url(self) -> str | None:
        """The next page of results, by the header `Link`."""
        match = _NEXT.fullmatch(self.headers.get("link", ""))
        return match[1] if match else None

    def parse(self) -> Any:
        """Return the body of a list."""
        return json.loads(self.body)

    def parse_lines(self) -> list[dict[str, Any]]:
        """Return the lines of a page of results."""
        return [json.loads(line) for line in self.body.split("\n") if line]


class QueryApi:
    """The API's reads as clients make them, from the current actor."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pool = EnvironmentPool(
            partial(build_query_router, world.components, world.aws), reuses=world.plan.reuses_environments
        )
        self._calls = 0

    def get(self, tenant: str, url: str) -> QueryResponse:
        """Request a URL that the API has given, or one that starts with BASE_URL.

        Raises ServiceUnavailableError for a 5xx and if there is no response.
        """
        environment = self._pool.take()
        self._calls += 1
        is_crashed = False
        try:
            response = self._world.scheduler.call_process(
                f"read-{self._calls}",
                partial(environment.handle, _build_event(tenant, url)),
                timeout_seconds=_TIMEOUT_SECONDS,
            )
        except ProcessEndedError as error:
            is_crashed = True
            raise ServiceUnavailableError("no response", is_known=False) from error
        finally:
            self._pool.give_back(environment, is_crashed=is_crashed)
        if response["statusCode"] == _SERVER_ERROR:
            raise AssertionError(f"an unexpected error: {response['body']}")
        if response["statusCode"] > _SERVER_ERROR:
            raise ServiceUnavailableError(response["body"], is_known=True)
        return QueryResponse(response["statusCode"], response["headers"], response["body"])


def build_query_router(components: Components, aws: InMemoryAws) -> Router:
    """Return the routes of predictions and batches, as `bootstrap.query` registers them."""
    router = Router(public_base_url=BASE_URL, cors=CorsPolicy())
    renderer = PredictionRenderer(components.documents, max_page_bytes=_MAX_PAGE_BYTES)
    batches = DynamoBatchStore(aws.client("dynamodb"), Table.JOBS, components.jobs)
    counts = DynamoBatchCounts(aws.client("dynamodb"), Table.USAGE)
    objects = S3BatchObjects(aws.client("s3"), BUCKET)
    results = ResultReader(objects, components.jobs, components.documents, refuse_private)
    add_prediction_read_routes(
        router,
        PredictionReader(components.jobs, renderer),
        PredictionList(components.jobs, batches.get, renderer),
    )
    add_batch_read_routes(
        router,
        batches=BatchReader(batches, counts),
        batch_list=BatchList(batches, counts),
        results=BatchResults(results, objects),
        renderer=renderer,
        clock=components.clock,
    )
    return router


def _build_event(tenant: str, url: str) -> dict[str, Any]:
    parts = urlsplit(url.removeprefix(BASE_URL))
    for pattern, resource in _ROUTES.items():
        match = pattern.fullmatch(parts.path)
        if match is not None:
            return {
                "httpMethod": "GET",
                "resource": resource,
                "path": parts.path,
                "pathParameters": match.groupdict(),
                "queryStringParameters": dict(parse_qsl(parts.query)),
                "headers": {},
                "requestContext": {"authorizer": {"tenant": tenant, "scopes": Scope.PREDICTIONS_READ.value}},
            }
    raise AssertionError(f"no route for {url}")
