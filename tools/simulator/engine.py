"""Runs predictions: starting → processing → succeeded, failed, canceled or aborted."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tools.simulator import clock
from tools.simulator.delivery import Delivery
from tools.simulator.models.base import Model, Run, Script
from tools.simulator.randomness import seeded
from tools.simulator.settings import Knobs
from tools.simulator.store import Prediction, Status
from tools.simulator.webhooks import Webhooks

_STARTUP_SHARE = 0.15  # of the usual run time is spent in `starting`


@dataclass(frozen=True, slots=True)
class Completion:
    """How a held run is to end; `given` says which of output, logs and error replace the script's own."""

    status: Literal["succeeded", "failed"] | None = None
    given: dict[str, Any] = field(default_factory=dict)


class Engine:
    """One per simulator; a task per running prediction."""

    def __init__(self, knobs: Callable[[], Knobs], delivery: Delivery, webhooks: Webhooks, seed: int) -> None:
        self._knobs = knobs
        self._delivery = delivery
        self._webhooks = webhooks
        self._rng = seeded(seed)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, asyncio.Future[Completion]] = {}

    def start(self, prediction: Prediction, model: Model, script: Script) -> None:
        """Begin to run a stored prediction."""
        task = asyncio.create_task(self._run(prediction, model, script))
        self._tasks[prediction.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(prediction.id, None))

    def script(self, model: Model, given: dict[str, Any]) -> Script:
        """What the model will do with that input; TypeError or ValueError if it cannot."""
        return model.behavior(Run(given, seeded(self._rng.getrandbits(64))))

    def cancel(self, prediction: Prediction) -> None:
        """Cancel at once; no effect on a terminal prediction."""
        if not prediction.terminal:
            self._finish(prediction, "canceled")
            if task := self._tasks.get(prediction.id):
                task.cancel()

    def complete(self, prediction: Prediction, completion: Completion) -> bool:
        """Let a held prediction end; False if it isn't held."""
        future = self._held.get(prediction.id)
        if future is None or future.done():
            return False
        future.set_result(completion)
        return True

    async def close(self) -> None:
        """Stop every run without a trace."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, prediction: Prediction, model: Model, script: Script) -> None:
        try:
            async with asyncio.timeout(_remaining(prediction)):
                usual = self._usual(model, _STARTUP_SHARE)
                await asyncio.sleep(usual if script.startup is None else script.startup)
                prediction.status, prediction.started_ns = "processing", clock.now_ns()
                self._webhooks.emit(prediction, "start")
                async with asyncio.timeout(self._knobs().run_limit) as limit:
                    await self._process(prediction, model, script)
        except TimeoutError:
            if prediction.started_ns is None:
                self._finish(prediction, "aborted", script)
            elif limit.expired():
                self._finish(prediction, "failed", script, "Prediction timed out")
            else:
                self._finish(prediction, "canceled", script)
        except (OSError, ValueError) as error:  # a picture that its format cannot hold
            self._finish(prediction, "failed", script, f"Prediction failed: {error}")

    async def _process(self, prediction: Prediction, model: Model, script: Script) -> None:
        usual = self._usual(model, 1)
        await self._play(prediction, script, usual if script.latency is None else script.latency)
        completion = Completion()
        if script.hold or self._knobs().hold:
            completion = await self._hold(prediction)
        status = completion.status or script.status
        prediction.logs = completion.given.get("logs", prediction.logs)
        output = completion.given.get("output", script.output)
        if output is not None:
            prediction.output = await self._delivery.publish(output, prediction)
            self._webhooks.emit(prediction, "output")
        if self._knobs().settle:
            prediction.outputs_ready.set()
            await asyncio.sleep(self._knobs().settle)
        error = completion.given.get("error", script.error)
        if status == "failed":
            error = error or "Prediction failed: unknown error (E1000)"
        self._finish(prediction, status, script, error)

    async def _play(self, prediction: Prediction, script: Script, latency: float) -> None:
        """Let the run time pass, with what happens during it."""
        elapsed = 0.0
        for step in script.steps:
            await asyncio.sleep((step.at - elapsed) * latency)
            elapsed = step.at
            if step.logs:
                prediction.logs += step.logs
                self._webhooks.emit(prediction, "logs")
            if step.output is not None:
                prediction.output = await self._delivery.publish(step.output, prediction)
                self._webhooks.emit(prediction, "output")
        await asyncio.sleep((1 - elapsed) * latency)

    async def _hold(self, prediction: Prediction) -> Completion:
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._held[prediction.id] = future
        try:
            return await future
        finally:
            del self._held[prediction.id]

    def _finish(
        self, prediction: Prediction, status: Status, script: Script | None = None, error: str | None = None
    ) -> None:
        if prediction.terminal:
            return
        now = clock.now_ns()
        prediction.status, prediction.error, prediction.completed_ns = status, error, now
        if status in ("canceled", "aborted"):
            prediction.output = None
        total = clock.seconds(now - prediction.created_ns)
        prediction.metrics = {"total_time": round(total, 6)}
        if prediction.started_ns is not None:
            run_time = clock.seconds(now - prediction.started_ns)
            prediction.metrics["predict_time"] = round(run_time, 9)
        if script and status == "succeeded":
            prediction.metrics |= script.metrics
        prediction.outputs_ready.set()
        self._webhooks.emit(prediction, "completed")

    def _usual(self, model: Model, share: float) -> float:
        knobs = self._knobs()
        return knobs.latency * model.latency_factor * share * (1 + knobs.jitter * self._rng.uniform(-1, 1))


def _remaining(prediction: Prediction) -> float | None:
    if prediction.deadline_ns is None:
        return None
    return clock.seconds(prediction.deadline_ns - clock.now_ns())
