"""Callers who read the results of a large batch, page by page while it runs and as a file at its end."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tools.simulation.query import BASE_URL, QueryApi
from tools.simulation.world import ServiceUnavailableError

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Batch
    from tools.simulation.batch_invariants import BatchInvariants
    from tools.simulation.query import QueryResponse
    from tools.simulation.world import World

# Of one URL, which a caller repeats until it is answered: an outage may last for longer than an hour.
_MAX_ATTEMPTS = 12
_MAX_WAIT_SECONDS = 600.0
# How often a caller asks again for lines that are to come.
_MAX_WAITS = 40
_OTHER_TENANT = "globex"
_OTHERS = {_OTHER_TENANT: "acme"}


class ResultReaders:
    """The callers of one world."""

    def __init__(self, world: World, invariants: BatchInvariants) -> None:
        self._world = world
        self._invariants = invariants
        self._api = QueryApi(world)

    def walk(self, batch: Batch) -> None:
        """Follow the pages of results from the first one to the end, or read the file that they are in."""
        walk = self._invariants.begin_walk(batch)
        url: str | None = f"{BASE_URL}/v1/batches/{batch.id}/results"
        waits = 0
        while url is not None and waits < _MAX_WAITS:
            walk.begin_page(url)
            response = self._get(batch.tenant, url)
            if response is None:
                return
            self._check_other_tenant(batch, url)
            if response.status == HTTPStatus.NOT_FOUND:
                self._world.reads["missing results"] += 1
                walk.check_missing()
                return
            if response.status == HTTPStatus.FOUND:
                self._world.reads["files of results"] += 1
                walk.check_file(urlsplit(response.headers["location"]).path.removeprefix("/"))
                return
            walk.check_page(response.parse_lines())
            self._world.reads["pages of results"] += 1
            url = response.next_url
            if "retry-after" in response.headers:
                waits += 1
                self._world.scheduler.sleep(float(response.headers["retry-after"]))
        if url is None:
            self._world.reads["complete results"] += 1
            walk.check_end()

    def _get(self, tenant: str, url: str) -> QueryResponse | None:
        """Repeat the request until it is answered: a cursor survives that."""
        for attempt in range(_MAX_ATTEMPTS):
            try:
                return self._api.get(tenant, url)
            except ServiceUnavailableError:
                self._world.scheduler.sleep(min(2.0**attempt, _MAX_WAIT_SECONDS))
        return None

    def _check_other_tenant(self, batch: Batch, url: str) -> None:
        try:
            response = self._api.get(_OTHERS.get(batch.tenant, _OTHER_TENANT), url)
        except ServiceUnavailableError:
            return
        if response.status != HTTPStatus.NOT_FOUND:
            self._invariants.report("tenants are isolated", f"another tenant reads {batch.id}: {response}")
