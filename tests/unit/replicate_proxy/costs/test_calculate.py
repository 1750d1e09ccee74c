"""What jobs cost, by Replicate's rules and the metrics that it reports."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.aws.dynamodb import to_item
from replicate_proxy.aws.job_records import record_from_job
from replicate_proxy.contracts.predictions import build_prediction_view
from replicate_proxy.costs.calculate import calculate_cost
from replicate_proxy.costs.prices import BillingUnit, Price
from replicate_proxy.jobs.model import (
    AttemptOutcome,
    Cost,
    Job,
    JobStatus,
    PastAttempt,
    Submission,
    SubmissionKind,
)
from tests.support.builders import make_job
from tests.support.clock import NOW

S = JobStatus
SOURCE: dict[str, Any] = {"source": "https://replicate.com/pricing", "as_of": "2026-07-26"}


def make_price(**amounts: str) -> Price:
    return Price(amounts={BillingUnit(unit): Decimal(amount) for unit, amount in amounts.items()}, **SOURCE)


PER_SECOND = make_price(second="0.000975")
PER_IMAGE = make_price(image="0.003")
PER_TOKEN = make_price(input_token="0.00000005", output_token="0.00000025")


def make_ended_job(status: JobStatus, replicate_status: str, metrics: dict[str, Any], **fields: Any) -> Job:
    return make_job(status, replicate_id="p1", replicate_status=replicate_status, metrics=metrics, **fields)


def calculate(job: Job, price: Price | None, ended_from: JobStatus = S.HARVESTING) -> Cost:
    return calculate_cost(job, price, ended_from=ended_from)


@pytest.mark.parametrize(
    ("price", "metrics", "micro_usd", "basis"),
    [
        (PER_IMAGE, {"image_count": 1}, 3000, "1 image × $0.003"),
        (PER_IMAGE, {"image_count": 4}, 12000, "4 images × $0.003"),
        # 1,462.5 is rounded up.
        (PER_SECOND, {"predict_time": 1.5}, 1463, "1.5 seconds × $0.000975"),
        (make_price(run="0.35"), {}, 350_000, "1 run × $0.35"),
        (
            PER_TOKEN,
            {"input_token_count": 1000, "output_token_count": 1},
            50,
            "1000 input tokens × $0.00000005 + 1 output token × $0.00000025",
        ),
    ],
)
def test_success_costs_what_replicate_counted(
    price: Price, metrics: dict[str, Any], micro_usd: int, basis: str
) -> None:
    cost = calculate(make_ended_job(S.SUCCEEDED, "succeeded", metrics), price)

    assert cost == Cost(micro_usd=micro_usd, basis=basis, **SOURCE)


@pytest.mark.parametrize("metrics", [{}, {"image_count": True}, {"image_count": "4"}, {"image_count": -1}])
def test_success_without_the_metric_has_no_cost_but_a_reason(metrics: dict[str, Any]) -> None:
    cost = calculate(make_ended_job(S.SUCCEEDED, "succeeded", metrics), PER_IMAGE)

    assert cost == Cost(reason="Replicate has not reported image_count")


@pytest.mark.parametrize("count", [10**9, 123_456_789 * 10**40, 1e36, 1e300])
def test_success_with_an_impossible_metric_has_no_cost_but_a_reason(count: float) -> None:
    job = make_ended_job(S.HARVESTING, "succeeded", {"image_count": count})

    cost = calculate(job, PER_IMAGE)

    assert cost == Cost(reason="what Replicate has reported would cost more than $1,000,000")
    to_item(record_from_job(replace(job, status=S.SUCCEEDED, cost=cost)))


def test_success_of_unpriced_model_has_no_cost_but_a_reason() -> None:
    cost = calculate(make_ended_job(S.SUCCEEDED, "succeeded", {}, model="acme/model"), None)

    assert cost == Cost(reason="no price is known for acme/model")


def test_deployment_has_no_cost_of_its_own() -> None:
    submission = Submission(kind=SubmissionKind.DEPLOYMENT, owner="acme", name="ours")
    job = make_ended_job(S.SUCCEEDED, "succeeded", {"predict_time": 1.0}, submission=submission)

    assert calculate(job, PER_SECOND) == Cost(
        reason="a deployment costs the time in which its instances are online"
    )


@pytest.mark.parametrize("status", ["failed", "aborted"])
def test_prediction_that_failed_or_never_ran_is_free(status: str) -> None:
    job = make_ended_job(S.FAILED, status, {"predict_time": 30.0})

    assert calculate(job, PER_SECOND, S.PROCESSING).micro_usd == 0


def test_canceled_prediction_costs_the_time_until_then() -> None:
    job = make_ended_job(S.CANCELED, "canceled", {"predict_time": 2.0}, started_at=NOW)

    assert calculate(job, PER_SECOND, S.PROCESSING).micro_usd == 1950


def test_canceled_prediction_that_had_not_started_is_free() -> None:
    assert calculate(make_ended_job(S.CANCELED, "canceled", {}), PER_SECOND, S.SUBMITTED).micro_usd == 0


def test_canceled_prediction_with_a_price_by_output_has_no_cost_but_a_reason() -> None:
    job = make_ended_job(S.CANCELED, "canceled", {"predict_time": 2.0}, started_at=NOW)

    assert calculate(job, PER_IMAGE, S.PROCESSING).reason.startswith("Replicate does not say")


def test_job_without_prediction_is_free_unless_one_may_exist() -> None:
    job = make_job(S.FAILED)

    assert calculate(job, PER_IMAGE, S.SUBMITTING) == Cost(micro_usd=0, basis="no prediction was created")
    assert calculate(job, PER_IMAGE, S.SUBMIT_UNKNOWN) == Cost(
        reason="it is not known whether Replicate created a prediction"
    )


def test_prediction_whose_end_is_not_reported_has_no_cost_but_a_reason() -> None:
    job = make_ended_job(S.FAILED, "processing", {})

    assert calculate(job, PER_SECOND, S.PROCESSING) == Cost(
        reason="Replicate has not reported how the prediction ended"
    )


@pytest.mark.parametrize(
    ("outcome", "is_estimated"),
    [
        (AttemptOutcome.FAILED, False),
        (AttemptOutcome.REJECTED, False),
        (AttemptOutcome.NOT_SENT, False),
        (AttemptOutcome.UNKNOWN, True),
        (AttemptOutcome.REPLACED, True),
    ],
)
def test_earlier_attempt_of_unknown_outcome_makes_an_estimate(
    outcome: AttemptOutcome, is_estimated: bool
) -> None:
    past = PastAttempt(attempt=1, outcome=outcome, replicate_id=None, error="", ended_at=NOW)
    job = make_ended_job(S.SUCCEEDED, "succeeded", {"image_count": 1}, past_attempts=(past,))

    cost = calculate(job, PER_IMAGE)

    assert (cost.micro_usd, cost.is_estimated) == (3000, is_estimated)
    assert ("without an attempt of unknown outcome" in cost.basis) is is_estimated


def make_canceled_attempt(cost: Cost | None) -> PastAttempt:
    return PastAttempt(
        attempt=1, outcome=AttemptOutcome.CANCELED, replicate_id="p0", error="", ended_at=NOW, cost=cost
    )


def test_attempts_that_were_canceled_for_a_fallback_add_what_they_cost() -> None:
    canceled = calculate(make_ended_job(S.CANCELED, "canceled", {"predict_time": 2}), PER_SECOND)
    free = Cost(micro_usd=0, basis="canceled before it started")
    past_attempts = (make_canceled_attempt(canceled), make_canceled_attempt(free))
    job = make_ended_job(S.SUCCEEDED, "succeeded", {"image_count": 1}, past_attempts=past_attempts)

    cost = calculate(job, PER_IMAGE)

    assert (cost.micro_usd, cost.is_estimated) == (3000 + 1950, False)
    assert cost.basis == "1 image × $0.003 + 2 seconds × $0.000975 until canceled"


def test_canceled_attempt_costs_something_even_if_the_last_one_is_free() -> None:
    canceled = calculate(make_ended_job(S.CANCELED, "canceled", {"predict_time": 2}), PER_SECOND)
    job = make_ended_job(S.FAILED, "failed", {}, past_attempts=(make_canceled_attempt(canceled),))

    cost = calculate(job, PER_IMAGE)

    assert (cost.micro_usd, cost.source, cost.as_of) == (1950, SOURCE["source"], SOURCE["as_of"])


@pytest.mark.parametrize("unknown", [None, Cost(reason="no price is known")])
def test_canceled_attempt_of_unknown_cost_makes_an_estimate(unknown: Cost | None) -> None:
    job = make_ended_job(
        S.SUCCEEDED, "succeeded", {"image_count": 1}, past_attempts=(make_canceled_attempt(unknown),)
    )

    cost = calculate(job, PER_IMAGE)

    assert (cost.micro_usd, cost.is_estimated) == (3000, True)
    assert cost.basis == "1 image × $0.003, without an attempt of unknown cost"


@given(
    seconds=st.floats(0, 1e6, allow_nan=False),
    rate=st.decimals("0.000001", "1", places=6),
)
def test_cost_is_within_half_a_millionth_of_the_exact_product(seconds: float, rate: Decimal) -> None:
    job = make_ended_job(S.SUCCEEDED, "succeeded", {"predict_time": seconds})

    cost = calculate(job, make_price(second=str(rate)))

    assert cost.micro_usd is not None
    exact = Fraction(str(seconds)) * Fraction(rate) * 1_000_000
    assert abs(cost.micro_usd - exact) <= Fraction(1, 2)


class TestView:
    def build_cost(self, cost: Cost | None, status: JobStatus = S.SUCCEEDED) -> Any:
        job = make_job(status, cost=cost, completed_at=NOW + timedelta(seconds=1))
        return build_prediction_view(job, input={})["proxy"].get("cost", "absent")

    def test_known_cost_has_amount_basis_and_source(self) -> None:
        assert self.build_cost(Cost(micro_usd=3000, basis="1 image × $0.003", **SOURCE)) == {
            "usd": "0.003000",
            "estimated": False,
            "basis": "1 image × $0.003",
            **SOURCE,
        }

    def test_cost_without_price_names_no_source(self) -> None:
        assert self.build_cost(Cost(micro_usd=0, basis="failed predictions are free")) == {
            "usd": "0.000000",
            "estimated": False,
            "basis": "failed predictions are free",
        }

    def test_unknown_cost_is_null_with_its_reason(self) -> None:
        assert self.build_cost(Cost(reason="no price is known")) == {
            "usd": None,
            "reason": "no price is known",
        }

    def test_running_prediction_shows_no_cost(self) -> None:
        assert self.build_cost(None, S.PROCESSING) == "absent"
