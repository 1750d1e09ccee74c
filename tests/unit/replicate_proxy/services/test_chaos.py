"""Hundreds of jobs through everything that can go wrong: none lost, none stuck, none paid for twice."""

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
TRANSIENT = "Prediction interrupted; please retry (code: PA)"
PROBABILITIES = {
    "queue.lost": 0.05,
    "queue.twice": 0.1,
    "queue.failed": 0.03,
    "bus.failed": 0.05,
    "reordered": 0.3,
    "webhook.lost": 0.2,
    "webhook.twice": 0.2,
    "crash": 0.03,
    "create.refused": 0.1,
    "create.throttled": 0.1,
    "create.unknown": 0.1,
    "create.answer_lost": 0.1,
    "failed": 0.1,
    "transient": 0.1,
    "cancel": 0.05,
}


def dice(seed: int) -> Callable[[str], bool]:
    rolls = random.Random(seed)

    def chance(name: str) -> bool:
        return rolls.random() < PROBABILITIES.get(name, PROBABILITIES.get(name.partition(".")[0], 0))

    return chance


def disturb_creates(world: World) -> None:
    """Every kind of failure of a create, before and after Replicate took it."""
    faults = world.replicate.faults.planned
    faults["create"], faults["create_answer"] = [], []
    if world.fault_occurs("create.refused"):
        world.replicate.faults.fail("create", error=NotAcceptedError("no connection"))
    elif world.fault_occurs("create.throttled"):
        world.replicate.faults.fail("create", error=ThrottledError("slow down", retry_after=5))
    elif world.fault_occurs("create.unknown"):
        world.replicate.faults.fail("create", error=OutcomeUnknownError("reset"))
    elif world.fault_occurs("create.answer_lost"):
        world.replicate.faults.fail("create_answer", error=OutcomeUnknownError("reset"))


def run_predictions(world: World) -> None:
    """Replicate works: starts and ends predictions, and tells so, or not, or twice, or in the wrong order."""
    for prediction_id, prediction in list(world.replicate.predictions.items()):
        if prediction["status"] not in {"starting", "processing"}:
            continue
        if prediction["status"] == "starting" and world.random.random() < 0.5:
            world.replicate.start(prediction_id)
        elif world.fault_occurs("transient"):
            world.replicate.finish(prediction_id, "failed", error=TRANSIENT)
        elif world.fault_occurs("failed"):
            world.replicate.finish(prediction_id, "failed", error="bad input")
        else:
            world.replicate.finish(prediction_id)
        for _ in range(2 if world.fault_occurs("webhook.twice") else 1):
            if prediction_id in world.replicate.webhooks and not world.fault_occurs("webhook.lost"):
                world.send_webhook(prediction_id)


def play(seed: int, *, webhooks: bool, echoes: bool) -> tuple[World, list[Job]]:
    world = World(
        timeouts=JobTimeouts(webhooks_enabled=webhooks),
        fault_occurs=dice(seed),
        seed=seed,
        echoes_webhook=echoes,
    )
    accepted: list[Job] = []
    for minute in range(240):
        if len(accepted) < JOBS:
            # Every prompt is asked for three times: twins must not take each other's predictions twice.
            accepted += [world.accept_job(f"prompt {len(accepted) // 3}").job for _ in range(5)]
        elif all(world.get_job(job).is_terminal for job in accepted):
            break
        for _ in range(6):
            disturb_creates(world)
            world.clock.advance(10)
            world.handle_due_messages()
            if world.fault_occurs("cancel") and minute < 60:
                world.canceler.cancel_job("acme", world.random.choice(accepted).id)
        run_predictions(world)
        world.run_sweep()
    return world, accepted


@pytest.fixture(autouse=True)
def one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks in parallel would roll the dice in another order every time."""
    monkeypatch.setattr(sweep, "_WORKERS", 1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("webhooks", "echoes"), [(True, False), (True, True), (False, False)])
def test_no_job_is_lost_stuck_or_paid_for_twice(seed: int, *, webhooks: bool, echoes: bool) -> None:
    world, accepted = play(seed, webhooks=webhooks, echoes=echoes)
    jobs = [world.get_job(job) for job in accepted]

    stuck = [(job.id, job.status.value, job.next_check_at) for job in jobs if not job.is_terminal]
    assert stuck == []
    assert len(world.store.jobs) == len(accepted)

    # Replicate was paid for one prediction a job, and one more where its own trouble ended the first.
    predictions = world.replicate.predictions.values()
    paid = Counter(entry["input"]["prompt"] for entry in predictions)
    paid.subtract(entry["input"]["prompt"] for entry in predictions if entry["error"] == TRANSIENT)
    wanted = Counter(world.documents.load(job.input)["prompt"] for job in jobs)
    assert {prompt: number for prompt, number in paid.items() if number > wanted[prompt]} == {}

    # What succeeded has its output, and what Replicate made was brought home.
    for job in jobs:
        if job.status is JobStatus.SUCCEEDED:
            assert world.documents.load(job.output) == [f"https://outputs.test/{job.id}.webp"]
        if job.status is JobStatus.FAILED:
            assert job.error in {"bad input", TRANSIENT}
