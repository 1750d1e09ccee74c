"""Create requests for models with an entry, from the route to the job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicate_proxy.costs.prices import PriceBook
from replicate_proxy.jobs.model import Job, JobStatus, Submission, SubmissionKind
from replicate_proxy.model_entries.entry import ModelEntry, parse_target
from replicate_proxy.services.job_costs import JobCosts
from tests.support.builders import VERSION
from tests.support.clock import NOW
from tests.support.prediction_api import PredictionApi

BY_MODEL = "/v1/models/{owner}/{name}/predictions"
FAST_IMAGE = {"owner": "team", "name": "fast-image"}


@pytest.fixture
def api() -> PredictionApi:
    return PredictionApi()


def create(api: PredictionApi, entry: ModelEntry, body: Any = None, **fields: Any) -> tuple[Any, Job]:
    """Create a prediction of `team/fast-image` with the entry; return the response and the job."""
    api.entries.entries[entry.name] = entry
    status, prediction, _ = api.post(
        BY_MODEL, body or {"input": {"prompt": "a cat"}}, params=FAST_IMAGE, **fields
    )
    assert status == 201, prediction
    job = api.pipeline.store.get("acme", prediction["id"])
    assert job is not None
    return prediction, job


def make_entry(**fields: Any) -> ModelEntry:
    return ModelEntry(name="team/fast-image", **{"target": "black-forest-labs/flux-schnell", **fields})


def test_alias_runs_its_target_and_says_so(api: PredictionApi) -> None:
    prediction, job = create(api, make_entry())

    assert job.submission == Submission(
        kind=SubmissionKind.MODEL, owner="black-forest-labs", name="flux-schnell"
    )
    assert prediction["model"] == "black-forest-labs/flux-schnell"
    assert prediction["proxy"]["requested_model"] == "team/fast-image"


def test_alias_can_be_the_version_of_a_request(api: PredictionApi) -> None:
    api.entries.entries["team/fast-image"] = make_entry()

    _, prediction, _ = api.post("/v1/predictions", {"version": "team/fast-image", "input": {}})

    assert prediction["model"] == "black-forest-labs/flux-schnell"


def test_input_has_defaults_below_and_forced_fields_above_the_callers(api: PredictionApi) -> None:
    entry = make_entry(defaults={"steps": 4, "seed": 1}, forced={"safe": True})

    prediction, _ = create(api, entry, {"input": {"steps": 8, "safe": False, "prompt": "a cat"}})

    assert prediction["input"] == {"steps": 8, "seed": 1, "safe": True, "prompt": "a cat"}


@pytest.mark.parametrize(
    ("header", "seconds"), [({}, 60), ({"Cancel-After": "30s"}, 30), ({"Cancel-After": "1h"}, 60)]
)
def test_timeout_is_an_upper_limit(api: PredictionApi, header: dict[str, str], seconds: int) -> None:
    _, job = create(api, make_entry(timeout_seconds=60), headers=header)

    assert job.deadline is not None
    assert (job.deadline - NOW).total_seconds() == seconds


def test_image_settings_apply_unless_the_request_has_its_own(api: PredictionApi) -> None:
    entry = make_entry(images={"format": "avif", "quality": 60})

    assert create(api, entry)[1].image_options == {"format": "avif", "quality": 60}
    assert create(api, entry, headers={"X-Image-Quality": "80"})[1].image_options == {
        "format": "avif",
        "quality": 80,
    }


def test_other_tenant_may_not_run_the_model(api: PredictionApi) -> None:
    api.entries.entries["team/fast-image"] = make_entry(allowed_tenants=("globex",))

    status, problem, _ = api.post(BY_MODEL, {"input": {}}, params=FAST_IMAGE)

    assert (status, problem["title"]) == (403, "Model not allowed")
    assert api.pipeline.store.jobs == {}


def test_pinned_version_of_a_model_with_an_entry_keeps_its_rules(api: PredictionApi) -> None:
    api.entries.entries["acme/sdxl"] = ModelEntry(
        name="acme/sdxl", target="acme/newer", forced={"safe": True}
    )

    _, prediction, _ = api.post("/v1/predictions", {"version": f"acme/sdxl:{VERSION}", "input": {}})

    assert prediction["version"] == VERSION
    assert prediction["input"] == {"safe": True}
    assert "requested_model" not in prediction["proxy"]


def test_repetition_finds_its_job_after_the_entry_has_changed(api: PredictionApi) -> None:
    headers = {"Idempotency-Key": "one"}
    first, _ = create(api, make_entry(), headers=headers)

    second, _ = create(api, make_entry(target="acme/other", defaults={"steps": 1}), headers=headers)

    assert second["id"] == first["id"]


def test_price_of_the_entry_counts_for_the_cost(api: PredictionApi) -> None:
    price = {"per_run": "0.25", "source": "https://replicate.com/acme", "as_of": "2026-11-01"}
    _, job = create(api, make_entry(price=price))
    assert job.price == price

    ended = replace(job, status=JobStatus.SUCCEEDED, replicate_id="p1", replicate_status="succeeded")
    cost = JobCosts(PriceBook({})).calculate(ended, JobStatus.HARVESTING)

    assert (cost.micro_usd, cost.source) == (250_000, "https://replicate.com/acme")


@pytest.mark.parametrize(
    ("target", "submission"),
    [
        ("acme/model", Submission(kind=SubmissionKind.MODEL, owner="acme", name="model")),
        (VERSION, Submission(kind=SubmissionKind.VERSION, version=VERSION)),
        (f"acme/model:{VERSION}", Submission(kind=SubmissionKind.VERSION, version=f"acme/model:{VERSION}")),
        ("deployments/acme/ours", Submission(kind=SubmissionKind.DEPLOYMENT, owner="acme", name="ours")),
    ],
)
def test_target_is_a_model_a_version_or_a_deployment(target: str, submission: Submission) -> None:
    assert parse_target(target) == submission
