"""Callers who search their predictions while these change, and what must hold for the pages.

A walk follows `next` from the first page to the last one, and sometimes `previous` back again. A prediction
that is in the tenant's index before the walk begins, and matches its filter until it ends, is shown once.
"""

from __future__ import annotations

import random
from datetime import timedelta
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.job_records import job_from_record
from replicate_proxy.clock import format_timestamp
from replicate_proxy.contracts.predictions import PREDICTION_STATUS
from replicate_proxy.jobs.job_filter import JobFilter
from tools.simulation.aws.dynamodb.table import STALE_SECONDS
from tools.simulation.observation import is_deletion_item, observe_writes
from tools.simulation.query import BASE_URL, QueryApi
from tools.simulation.resources import Table
from tools.simulation.world import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.simulation.invariants import Invariants, Item, JobKey
    from tools.simulation.world import World

_STATUSES = ("", "", "succeeded", "failed,canceled", "starting,processing")
_MODELS = ("", "", "acme/model")
_MEAN_SECONDS_BETWEEN_PAGES = (0.1, 5.0)
_MAX_ATTEMPTS = 8
_SEARCH = "a search finds each prediction once"


class Searchers:
    """The callers of one world: `count` walks while jobs arrive and end."""

    def __init__(
        self, world: World, invariants: Invariants, *, count: int, seconds: float, tenants: Sequence[str]
    ) -> None:
        self._world = world
        self._invariants = invariants
        self._count = count
        self._seconds = seconds
        self._tenants = tenants
        self._api = QueryApi(world)
        self._walks: list[SearchWalk] = []
        self._changed_at: dict[JobKey, float] = {}
        if count:
            observe_writes(world.aws, self._note_write)

    def start(self) -> None:
        """Schedule the callers."""
        source = random.Random(f"{self._world.scheduler.seed}/searches")
        for number in range(self._count):
            name, delay_seconds = f"search-{number}", source.uniform(0, self._seconds)
            self._world.scheduler.spawn(name, self._search, delay_seconds=delay_seconds)

    def _search(self) -> None:
        source = self._world.scheduler.actor.random
        tenant = source.choice(self._tenants)
        statuses, model = source.choice(_STATUSES), source.choice(_MODELS)
        created_after = None
        if source.random() < 0.3:
            created_after = self._world.clock.now() - timedelta(seconds=source.uniform(10, 900))
        query = {
            "status": statuses,
            "model": model,
            "created_after": format_timestamp(created_after) if created_after else "",
        }
        job_filter = JobFilter(
            statuses=frozenset(s for s, shown in PREDICTION_STATUS.items() if shown in statuses.split(",")),
            tenant=tenant,
            model=model or None,
            created_after=created_after,
        )
        walk = self._begin(tenant, job_filter)
        pause_seconds = source.choice(_MEAN_SECONDS_BETWEEN_PAGES)
        url = f"{BASE_URL}/v1/predictions?{urlencode({name: text for name, text in query.items() if text})}"
        try:
            previous_url = self._follow(walk, url, "next", pause_seconds)
            if previous_url is not None and source.random() < 0.5:
                walk.turn_back()
                self._follow(walk, previous_url, "previous", pause_seconds)
        except ServiceUnavailableError:
            return
        finally:
            self._walks.remove(walk)

    def _begin(self, tenant: str, job_filter: JobFilter) -> SearchWalk:
        """Return a walk that has to show what its index has, and what has matched for some time."""
        now = self._world.scheduler.now
        index = self._world.aws.dynamodb.tables[Table.JOBS].indexes["by_tenant"]
        ids = {str(key[0]).rpartition("#")[2] for key in index.list_keys(tenant, now)}
        expected = {
            job.id
            for job in self._world.truth.read_stored_jobs()
            if job.id in ids
            and job_filter.matches(job)
            and self._changed_at[job.tenant, job.id] < now - STALE_SECONDS
        }
        walk = SearchWalk(self._invariants, job_filter, expected, name=self._world.scheduler.actor.name)
        self._walks.append(walk)
        return walk

    def _follow(self, walk: SearchWalk, url: str, direction: str, pause_seconds: float) -> str | None:
        """Follow the pages in a direction, and return where the last one leads in the other."""
        scheduler = self._world.scheduler
        following: str | None = url
        back = None
        while following is not None:
            page = self._get(walk, following)
            walk.add_page([view["id"] for view in page["results"]], is_back=direction == "previous")
            self._check_views(walk, page["results"])
            self._world.reads[f"{direction} pages of searches"] += 1
            back, following = page["previous"], page[direction]
            if following is not None:
                scheduler.sleep(scheduler.actor.random.expovariate(1 / pause_seconds))
        walk.check_end()
        self._world.reads["complete searches"] += 1
        return back

    def _check_views(self, walk: SearchWalk, views: Sequence[Mapping[str, Any]]) -> None:
        """Check that a page shows predictions of the tenant, in a state that was asked for."""
        statuses = {PREDICTION_STATUS[status] for status in walk.job_filter.statuses or PREDICTION_STATUS}
        for view in views:
            if (walk.tenant, view["id"]) not in self._changed_at:
                self._invariants.report("tenants are isolated", f"{walk.tenant} is shown {view['id']}")
            if view["status"] not in statuses:
                self._invariants.report(_SEARCH, f"{view['id']} is {view['status']}, not {statuses}")

    def _get(self, walk: SearchWalk, url: str) -> Mapping[str, Any]:
        """Repeat the request until it is answered. Raises ServiceUnavailableError if it never is."""
        for attempt in range(_MAX_ATTEMPTS):
            try:
                response = self._api.get(walk.tenant, url)
            except ServiceUnavailableError:
                self._world.scheduler.sleep(2.0**attempt)
                continue
            if response.status != HTTPStatus.OK:
                self._invariants.report(_SEARCH, f"{url}: {response}")
            page: Mapping[str, Any] = response.parse()
            return page
        raise ServiceUnavailableError("the outage lasts", is_known=True)

    def _note_write(self, table: str, _old: Item | None, new: Item | None) -> None:
        if table != Table.JOBS or new is None or new["sk"]["S"] != "JOB":
            return
        tenant, job_id = new["pk"]["S"].removeprefix("JOB#").split("#")
        self._changed_at[tenant, job_id] = self._world.scheduler.now
        for walk in self._walks:
            if walk.expects(tenant, job_id) and (
                is_deletion_item(new) or not walk.job_filter.matches(job_from_record(from_item(new)))
            ):
                walk.forgive(job_id)


class SearchWalk:
    """One way through the pages of a search."""

    def __init__(
        self, invariants: Invariants, job_filter: JobFilter, expected: set[str], *, name: str
    ) -> None:
        self.job_filter = job_filter
        self.tenant = job_filter.tenant or ""
        self._invariants = invariants
        self._expected = expected
        self._name = name
        self._seen: list[str] = []
        self._last_page: Sequence[str] = ()

    def expects(self, tenant: str, job_id: str) -> bool:
        return tenant == self.tenant and job_id in self._expected

    def forgive(self, job_id: str) -> None:
        """Learn that a prediction does not match any more, or is deleted."""
        self._expected.discard(job_id)

    def turn_back(self) -> None:
        """Go back: what the last page has shown is the start of the other direction."""
        self._seen = list(self._last_page)

    def add_page(self, ids: Sequence[str], *, is_back: bool) -> None:
        """Check that a page goes on where the last one ended: newest first, and nothing twice."""
        self._last_page = ids
        self._seen = [*ids, *self._seen] if is_back else [*self._seen, *ids]
        if any(first <= second for first, second in pairwise(self._seen)):
            self._invariants.report(_SEARCH, f"{self._name} shows {self._seen}")

    def check_end(self) -> None:
        """Check that nothing is missing at the end of a direction."""
        if missing := self._expected.difference(self._seen):
            detail = f"{self._name} for {self.job_filter} misses {sorted(missing)}, it shows {self._seen}"
            self._invariants.report(_SEARCH, detail)
