"""The most that a create request may cost: by its entry, its model, and whatever may run instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.costs.prices import PriceBook
from replicate_proxy.jobs.model import Account, Submission, SubmissionKind
from replicate_proxy.model_entries.entry import FallbackTarget, ModelEntry
from replicate_proxy.services.cost_bounds import CostBounds
from replicate_proxy.services.ingest import JobRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

CEILING = 1_000_000
ORIGIN = {"source": "https://replicate.test", "as_of": "2026-01-01"}
PRICES = PriceBook.parse(
    {
        "models": {
            name: {"per_image": price, **ORIGIN} for name, price in (("acme/a", "0.01"), ("acme/b", "0.02"))
        }
    }
)
MODEL = Submission(kind=SubmissionKind.MODEL, owner="acme", name="a")


PER_SECOND_OF_OUTPUT = {"per_output_second": "0.1", **ORIGIN}


def estimate(
    submission: Submission = MODEL,
    entry: ModelEntry | None = None,
    known_fields: Mapping[str, Collection[str]] | None = None,
    **model_input: Any,
) -> int:
    fields = known_fields or {}
    request = JobRequest(
        submission=submission,
        model=submission.model_name,
        entry=entry,
        input=model_input,
        public_base_url="",
        correlation_id="",
    )
    return CostBounds(PRICES, CEILING, lambda target: fields.get(target, ())).estimate(request)


def test_model_costs_what_its_input_asks_for() -> None:
    assert estimate() == 10_000
    assert estimate(num_outputs=3) == 30_000


@pytest.mark.parametrize(
    "submission",
    [
        Submission(kind=SubmissionKind.MODEL, owner="acme", name="unknown"),
        Submission(kind=SubmissionKind.DEPLOYMENT, owner="acme", name="a"),
        Submission(kind=SubmissionKind.VERSION, version="0" * 64),
    ],
)
def test_what_has_no_bound_costs_the_ceiling(submission: Submission) -> None:
    assert estimate(submission) == CEILING


def test_known_model_of_a_version_counts_more_than_the_claimed_name() -> None:
    request = JobRequest(
        submission=Submission(kind=SubmissionKind.VERSION, version=f"acme/a:{'0' * 64}"),
        model="acme/b",
        input={},
        public_base_url="",
        correlation_id="",
    )

    assert CostBounds(PRICES, CEILING).estimate(request) == 20_000


def test_entry_decides_about_target_input_and_price() -> None:
    assert estimate(entry=ModelEntry(name="acme/a", target="acme/b")) == 20_000
    assert estimate(entry=ModelEntry(name="acme/a", forced={"num_outputs": 2}), num_outputs=1) == 20_000
    assert estimate(entry=ModelEntry(name="acme/a", price={"per_run": "0.5", **ORIGIN})) == 500_000


def test_dearest_fallback_counts() -> None:
    fallback = FallbackTarget(target="acme/b", fields={"count": "num_outputs"})

    assert estimate(entry=ModelEntry(name="acme/a", fallbacks=(fallback,)), count=2) == 40_000
    unknown = FallbackTarget(target="acme/unknown")
    assert estimate(entry=ModelEntry(name="acme/a", fallbacks=(fallback, unknown))) == CEILING


def test_all_targets_count_where_one_may_be_canceled_for_the_next() -> None:
    fallbacks = (FallbackTarget(target="acme/b"), FallbackTarget(target="acme/unknown"))
    entry = ModelEntry(name="acme/a", fallbacks=fallbacks, fallback_after_seconds=30)

    assert estimate(entry=entry) == 10_000 + 20_000 + CEILING


def test_ceiling_of_the_entry_stands_where_no_bound_is_known() -> None:
    ceiling = ModelEntry(name="acme/unknown", cost_ceiling_usd="0.2")
    unknown = Submission(kind=SubmissionKind.MODEL, owner="acme", name="unknown")
    assert estimate(unknown, ceiling) == 200_000
    assert estimate(entry=ModelEntry(name="acme/a", cost_ceiling_usd="0.2")) == 10_000
    fallback = FallbackTarget(target="acme/unknown")
    assert estimate(entry=ModelEntry(name="acme/a", cost_ceiling_usd="0.2", fallbacks=(fallback,))) == 200_000


@pytest.mark.parametrize(
    ("fields", "model_input", "expected"),
    [
        (("prompt", "duration"), {"duration": 5}, 500_000),
        (("prompt", "seconds"), {"seconds": "20"}, 2_000_000),
        # The model ignores the field, and runs for as long as it does by default.
        (("prompt", "duration"), {"seconds": 1}, CEILING),
        (("prompt", "duration"), {"seconds": 1, "duration": None}, CEILING),
        (("prompt", "duration"), {}, CEILING),
        # Not known yet, or never: the input may be wrong, but what it asks for is not ignored.
        ((), {"duration": 5}, CEILING),
        ((), {"duration": 20}, 2_000_000),
    ],
)
def test_seconds_of_output_are_bounded_by_a_field_that_the_model_has(
    fields: tuple[str, ...], model_input: dict[str, Any], expected: int
) -> None:
    entry = ModelEntry(name="acme/a", price=PER_SECOND_OF_OUTPUT)
    known_fields = {"models/acme/a": fields}

    assert estimate(entry=entry, known_fields=known_fields, **model_input) == expected


def test_fields_of_a_fallback_are_its_own() -> None:
    fallback = FallbackTarget(target="acme/b", price=PER_SECOND_OF_OUTPUT, fields={"seconds": "duration"})
    entry = ModelEntry(name="acme/a", cost_ceiling_usd="3", fallbacks=(fallback,))
    known_fields = {"models/acme/a": ("seconds",), "models/acme/b": ("duration",)}

    assert estimate(entry=entry, known_fields=known_fields, seconds=5) == 500_000
    assert estimate(entry=entry, known_fields={"models/acme/a": ("seconds",)}, seconds=5) == 3_000_000


def test_field_that_a_fallback_does_not_get_bounds_nothing() -> None:
    fallback = FallbackTarget(target="acme/b", price=PER_SECOND_OF_OUTPUT, fields={"duration": None})
    entry = ModelEntry(name="acme/a", fallbacks=(fallback,))

    assert estimate(entry=entry, known_fields={"models/acme/b": ("duration",)}, duration=5) == CEILING


def test_fields_of_the_tenants_own_account_count() -> None:
    asked: list[str] = []
    request = JobRequest(
        submission=Submission(kind=SubmissionKind.VERSION, version="0" * 64),
        account=Account("acme", "own"),
        entry=ModelEntry(name="acme/a", price=PER_SECOND_OF_OUTPUT),
        input={"duration": 5},
        public_base_url="",
        correlation_id="",
    )

    def find_fields(target: str) -> list[str]:
        asked.append(target)
        return ["duration"]

    assert CostBounds(PRICES, CEILING, find_fields).estimate(request) == 500_000
    assert asked == [f"versions/{'0' * 64}@acme/own"]
