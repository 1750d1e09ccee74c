"""Many jobs through the whole pipeline with random faults: none is lost, stuck or paid for twice."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.replicate_api.errors import NotAcceptedError, OutcomeUnknownError, ThrottledError
from replicate_proxy.services import sweep
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS = 150
TRANSIENT_ERROR = "Prediction interrupted; please retry (code: PA)"
# By fault name, or by its first part for all of a kind.
PROBABILITIES = {
    "queue.lost": 0.05,
    "queue.twice": 0.1,
    "queue.failed": 0.03,
    "bus.failed": 0.05,
    "reordered": 0.3,
    "webhook.lost": 0.2,
    "webhook.twice": 0.2,
    "crash": 0.03,
    "create.not_accepted": 0.1,
    "create.throttled": 0.1,
    "create.unknown": 0.1,
    "create.answer_lost": 0.1,
    "prediction.failed": 0.1,
    "prediction.transient_error": 0.1,
    "cancel": 0.05,
}


def make_random_faults(seed: int) -> Callable[[str], bool]:
    generator = random.Random(seed)

    def fault_occurs(name: str) -> bool:
        kind = name.partition(".")[0]
        return generator.random() < PROBABILITIES.get(name, PROBABILITIES.get(kind, 0))

    return fault_occurs


def plan_create_faults(world: World) -> None:
    """Plan at most one failure of the next create, before or after Replicate creates the prediction."""
    faults = world.replicate.faults
    faults.planned["create"], faults.planned["create_response"] = [], []
    if world.fault_occurs("create.not_accepted"):
        faults.fail("create", error=NotAcceptedError("no connection"))
    elif world.fault_occurs("create.throttled"):
        faults.fail("create", error=ThrottledError("slow down", retry_after=5))
    elif world.fault_occurs("create.unknown"):
        faults.fail("create", error=OutcomeUnknownError("reset"))
    elif world.fault_occurs("create.answer_lost"):
        faults.fail("create_response", error=OutcomeUnknownError("reset"))


def run_predictions(world: World) -> None:
    """Start or end each running prediction, and send its webhook, unless a fault loses or repeats it."""
    for prediction_id, prediction in list(world.replicate.predictions.items()):
        if prediction["status"] not in {"starting", "processing"}:
            continue
        if prediction["status"] == "starting" and world.random.random() < 0.5:
            world.replicate.start(prediction_id)
        elif world.fault_occurs("prediction.transient_error"):
            world.replicate.finish(prediction_id, "failed", error=TRANSIENT_ERROR)
        elif world.fault_occurs("prediction.failed"):
            world.replicate.finish(prediction_id, "failed", error="bad input")
        else:
            world.replicate.finish(prediction_id)
        for _ in range(2 if world.fault_occurs("webhook.twice") else 1):
            if prediction_id in world.replicate.webhooks and not world.fault_occurs("webhook.lost"):
                world.send_webhook(prediction_id)


def run_pipeline(seed: int, *, webhooks: bool, echoes_webhook: bool) -> tuple[World, list[Job]]:
    """Run the pipeline until all jobs are terminal, for four hours at most; return it with its jobs."""
    world = World(
        timeouts=JobTimeouts(webhooks_enabled=webhooks),
        fault_occurs=make_random_faults(seed),
        seed=seed,
        echoes_webhook=echoes_webhook,
    )
    accepted: list[Job] = []
    for minute in range(240):
        if len(accepted) < JOBS:
            # Three jobs have the same prompt, so that their predictions can be mistaken for each other.
            accepted += [world.accept_job(f"prompt {len(accepted) // 3}").job for _ in range(5)]
        elif all(world.get_job(job).is_terminal for job in accepted):
            break
        for _ in range(6):
            plan_create_faults(world)
            world.clock.advance(10)
            world.handle_due_messages()
            if world.fault_occurs("cancel") and minute < 60:
                world.canceler.cancel_job("acme", world.random.choice(accepted).id)
        run_predictions(world)
        world.run_sweep()
    return world, accepted


@pytest.fixture(autouse=True)
def one_sweep_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks in parallel would draw the random faults in a different order in every run."""
    monkeypatch.setattr(sweep, "_WORKERS", 1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("webhooks", "echoes_webhook"),
    [(True, False), (True, True), (False, False)],
    ids=["webhooks", "echoed_webhooks", "polling"],
)
def test_no_job_is_lost_stuck_or_paid_twice(seed: int, *, webhooks: bool, echoes_webhook: bool) -> None:
    world, accepted = run_pipeline(seed, webhooks=webhooks, echoes_webhook=echoes_webhook)
    jobs = [world.get_job(job) for job in accepted]

    stuck = [(job.id, job.status.value, job.next_check_at) for job in jobs if not job.is_terminal]
    assert stuck == []
    assert len(world.store.jobs) == len(accepted)

    # At most one prediction was created for each job, and another where a transient error ended the first.
    predictions = world.replicate.predictions.values()
    created = Counter(entry["input"]["prompt"] for entry in predictions)
    created.subtract(entry["input"]["prompt"] for entry in predictions if entry["error"] == TRANSIENT_ERROR)
    requested = Counter(world.documents.load(job.input)["prompt"] for job in jobs)
    assert {prompt: number for prompt, number in created.items() if number > requested[prompt]} == {}

    # Succeeded jobs have their output, and failed jobs the error of their prediction.
    for job in jobs:
        if job.status is JobStatus.SUCCEEDED:
            assert world.documents.load(job.output) == [f"https://outputs.test/{job.id}.webp"]
        if job.status is JobStatus.FAILED:
            assert job.error in {"bad input", TRANSIENT_ERROR}
