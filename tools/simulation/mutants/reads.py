"""Broken variants of what callers read page by page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.ports import JobPage
from replicate_proxy.services.batch_reader import BatchReader
from replicate_proxy.services.batch_results import BatchResults, ResultPage
from replicate_proxy.services.prediction_list import PredictionList
from tools.simulation.callers import TENANTS
from tools.simulation.mutants.mutant import WITH_BATCHES, Mutant
from tools.simulation.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable

_WITH_SEARCHES = RunSettings(jobs=25, delete_share=0.3, searches=12)


def _end_with_what_is_expanded(self: Any, batch: Any, number: int) -> Any:
    page = _read_page(self, batch, number)
    return ResultPage(page.text, None) if number + 1 >= batch.large.slices else page


def _go_on_with_the_newest(self: Any, batch: Any, number: int) -> Any:
    page = _read_page(self, batch, number)
    is_last = page.next_slice is None or batch.large.slices <= number + 1
    return page if is_last else ResultPage(page.text, batch.large.slices - 1)


def _read_batch_of_anyone(self: Any, _tenant: str, batch_id: str) -> Any:
    owners = [tenant for tenant in TENANTS if self._store.get(tenant, batch_id) is not None]
    return _get_batch(self, owners[0] if owners else TENANTS[0], batch_id)


def _list_and_skip_one(self: Any, tenant: str, *, limit: int, **bounds: Any) -> Any:
    page = _list_jobs(self, tenant, limit=limit + 1, **bounds)
    has_more = len(page.jobs) > limit
    return JobPage(page.jobs[:limit], page.jobs[limit].id if has_more else None)


def _list_newer_and_skip_one(self: Any, tenant: str, *, limit: int, **bounds: Any) -> Any:
    page = _list_newer_jobs(self, tenant, limit=limit + 1, **bounds)
    has_more = len(page.jobs) > limit
    return replace(
        page,
        jobs=page.jobs[1:] if has_more else page.jobs,
        previous_after_id=page.jobs[0].id if has_more else None,
    )


def _show_the_last_one_again(self: Any, *arguments: Any, **position: Any) -> Any:
    page = _read_predictions(self, *arguments, **position)
    is_first_cut = page.next_before_id is not None and len(page.results) > 1
    return replace(page, next_before_id=page.results[-2]["id"]) if is_first_cut else page


_read_page: Callable[..., Any] = BatchResults.read_page
_get_batch: Callable[..., Any] = BatchReader.get
_list_jobs: Callable[..., Any] = DynamoJobStore.list_jobs
_list_newer_jobs: Callable[..., Any] = DynamoJobStore.list_newer_jobs
_read_predictions: Callable[..., Any] = PredictionList.read

RESULT_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "the pages of results end with what is expanded by then",
        "the results have each line once",
        ((BatchResults, "read_page", _end_with_what_is_expanded),),
        settings=WITH_BATCHES,
    ),
    Mutant(
        "a page of results leads to the newest one",
        "the results have each line once",
        ((BatchResults, "read_page", _go_on_with_the_newest),),
        settings=WITH_BATCHES,
    ),
    Mutant(
        "the results of other tenants are shown",
        "tenants are isolated",
        ((BatchReader, "get", _read_batch_of_anyone),),
        settings=WITH_BATCHES,
    ),
)

SEARCH_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "the cursor of a search skips a prediction",
        "a search finds each prediction once",
        ((DynamoJobStore, "list_jobs", _list_and_skip_one),),
        settings=_WITH_SEARCHES,
    ),
    Mutant(
        "a search that goes back skips a prediction",
        "a search finds each prediction once",
        ((DynamoJobStore, "list_newer_jobs", _list_newer_and_skip_one),),
        settings=_WITH_SEARCHES,
        is_slow=True,
    ),
    Mutant(
        "the page after a cursor begins with what was shown last",
        "a search finds each prediction once",
        ((PredictionList, "read", _show_the_last_one_again),),
        settings=_WITH_SEARCHES,
    ),
)
