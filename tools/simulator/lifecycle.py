"""The life of a prediction: `PredictionRunner` runs it, `DataRetention` removes its data later."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from tools.simulator.models.model import Model, RunContext, RunScript
from tools.simulator.output_files import OutputFiles
from tools.simulator.predictions import Prediction, PredictionStore, Status
from tools.simulator.randomness import create_seeded_random
from tools.simulator.settings import Settings
from tools.simulator.timestamps import now_ns, to_seconds
from tools.simulator.webhooks import WebhookSender

_STARTUP_FACTOR = 0.15  # of the typical run time is spent in `starting`
_MIN_SWEEP_INTERVAL_SECONDS = 0.1
_MAX_SWEEP_INTERVAL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Completion:
    """How a held run ends. `overrides` replaces output, logs or error of the script."""

    status: Literal["succeeded", "failed"] | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


class PredictionRunner:
    """Moves predictions from `starting` over `processing` to a terminal status, one task per prediction."""

    def __init__(
        self,
        get_settings: Callable[[], Settings],
        output_files: OutputFiles,
        webhooks: WebhookSender,
        seed: int,
    ) -> None:
        self._get_settings = get_settings
        self._output_files = output_files
        self._webhooks = webhooks
        self._rng = create_seeded_random(seed)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, asyncio.Future[Completion]] = {}

    def write_script(self, model: Model, model_input: dict[str, Any]) -> RunScript:
        """Return what the model does with that input. Raises TypeError or ValueError if it cannot."""
        return model.behavior(RunContext(model_input, create_seeded_random(self._rng.getrandbits(64))))

    def start(self, prediction: Prediction, model: Model, script: RunScript) -> None:
        """Start the run of a stored prediction."""
        task = asyncio.create_task(self._run(prediction, model, script))
        self._tasks[prediction.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(prediction.id, None))

    def cancel(self, prediction: Prediction) -> None:
        """Cancel a prediction immediately, unless it is terminal."""
        if not prediction.is_terminal:
            self._finish(prediction, "canceled")
            if task := self._tasks.get(prediction.id):
                task.cancel()

    def complete(self, prediction: Prediction, completion: Completion) -> bool:
        """Complete a held prediction, whose steps may still run. Return False if it is not held."""
        future = self._held.get(prediction.id)
        if future is None or future.done():
            return False
        future.set_result(completion)
        return True

    async def stop(self) -> None:
        """Stop every run. Their predictions do not change any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, prediction: Prediction, model: Model, script: RunScript) -> None:
        try:
            async with asyncio.timeout(_seconds_until_deadline(prediction)):
                startup_seconds = self._draw_duration(model, _STARTUP_FACTOR)
                if script.startup_seconds is not None:
                    startup_seconds = script.startup_seconds
                await asyncio.sleep(startup_seconds)
                prediction.status, prediction.started_ns = "processing", now_ns()
                if prediction.stream is not None:
                    prediction.stream.start()
                self._webhooks.emit(prediction, "start")
                async with asyncio.timeout(self._get_settings().run_limit) as run_limit:
                    await self._process(prediction, model, script)
        except TimeoutError:
            if prediction.started_ns is None:
                self._finish(prediction, "aborted", script)
            elif run_limit.expired():
                self._finish(prediction, "failed", script, "Prediction timed out")
            else:
                self._finish(prediction, "canceled", script)
        except (OSError, ValueError) as error:  # an image that its format cannot represent
            self._finish(prediction, "failed", script, f"Prediction failed: {error}")

    async def _process(self, prediction: Prediction, model: Model, script: RunScript) -> None:
        latency_seconds = self._draw_duration(model, 1)
        if script.latency_seconds is not None:
            latency_seconds = script.latency_seconds
        completion = Completion()
        if script.hold or self._get_settings().hold:
            with self._held_until_completed(prediction) as future:
                await self._perform_steps(prediction, script, latency_seconds)
                completion = await future
        else:
            await self._perform_steps(prediction, script, latency_seconds)
        status = completion.status or script.status
        if "logs" in completion.overrides:
            self._replace_logs(prediction, completion.overrides["logs"])
        output = completion.overrides.get("output", script.output)
        if output is not None:
            await self._publish_output(prediction, output)
        if self._get_settings().completion_delay:
            prediction.outputs_ready.set()
            await asyncio.sleep(self._get_settings().completion_delay)
        error = completion.overrides.get("error", script.error)
        if status == "failed":
            error = error or "Prediction failed: unknown error (E1000)"
        self._finish(prediction, status, script, error)

    async def _perform_steps(self, prediction: Prediction, script: RunScript, latency_seconds: float) -> None:
        """Let the run time pass, and publish the logs and outputs of each step at its time."""
        elapsed_share = 0.0
        for step in script.steps:
            await asyncio.sleep((step.at - elapsed_share) * latency_seconds)
            elapsed_share = step.at
            if step.logs:
                self._replace_logs(prediction, prediction.logs + step.logs)
                self._webhooks.emit(prediction, "logs")
            if step.output is not None:
                await self._publish_output(prediction, step.output)
        await asyncio.sleep((1 - elapsed_share) * latency_seconds)

    async def _publish_output(self, prediction: Prediction, output: Any) -> None:
        prediction.output = await self._output_files.publish(output, prediction)
        if prediction.stream is not None:
            prediction.stream.add_output(prediction.output)
        self._webhooks.emit(prediction, "output")

    def _replace_logs(self, prediction: Prediction, logs: str) -> None:
        if prediction.stream is not None:
            prediction.stream.add_logs(logs.removeprefix(prediction.logs))
        prediction.logs = logs

    @contextmanager
    def _held_until_completed(self, prediction: Prediction) -> Iterator[asyncio.Future[Completion]]:
        """Accept a completion from the start of the run, so that none is rejected for being early."""
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._held[prediction.id] = future
        try:
            yield future
        finally:
            del self._held[prediction.id]

    def _finish(
        self,
        prediction: Prediction,
        status: Status,
        script: RunScript | None = None,
        error: str | None = None,
    ) -> None:
        if prediction.is_terminal:
            return
        completed_ns = now_ns()
        prediction.status, prediction.error, prediction.completed_ns = status, error, completed_ns
        total_seconds = to_seconds(completed_ns - prediction.created_ns)
        prediction.metrics = {"total_time": round(total_seconds, 6)}
        if prediction.started_ns is not None:
            run_seconds = to_seconds(completed_ns - prediction.started_ns)
            prediction.metrics["predict_time"] = round(run_seconds, 9)
        if script and status == "succeeded":
            prediction.metrics |= script.metrics
        if prediction.stream is not None:
            prediction.stream.finish(status, error, prediction.metrics)
        prediction.outputs_ready.set()
        self._webhooks.emit(prediction, "completed")

    def _draw_duration(self, model: Model, factor: float) -> float:
        """Return a random duration around the typical run time times `factor`, in seconds."""
        settings = self._get_settings()
        jitter_factor = 1 + settings.jitter * self._rng.uniform(-1, 1)
        return settings.latency * model.latency_factor * factor * jitter_factor


class DataRetention:
    """Removes the data of old predictions (Replicate docs, predictions: data retention)."""

    def __init__(
        self, get_settings: Callable[[], Settings], store: PredictionStore, output_files: OutputFiles
    ) -> None:
        self._get_settings = get_settings
        self._store = store
        self._output_files = output_files

    async def run(self) -> None:
        """Remove expired data periodically, until the task is canceled."""
        while True:
            interval_seconds = self._get_settings().retention / 10
            interval_seconds = max(_MIN_SWEEP_INTERVAL_SECONDS, interval_seconds)
            await asyncio.sleep(min(_MAX_SWEEP_INTERVAL_SECONDS, interval_seconds))
            self.remove_expired_data()

    def remove_expired_data(self) -> None:
        """Remove the data of predictions that completed longer ago than the retention."""
        now = now_ns()
        for prediction in self._store.list_all():
            is_expired = prediction.seconds_since_completion(now) >= self._get_settings().retention
            if is_expired and not prediction.data_removed:
                self.remove_data(prediction)

    def remove_data(self, prediction: Prediction) -> None:
        """Remove input, output, logs and files. The record stays."""
        self._output_files.remove(prediction.file_paths)
        prediction.file_paths = []
        prediction.input, prediction.output, prediction.logs = {}, None, ""
        prediction.data_removed = True


def _seconds_until_deadline(prediction: Prediction) -> float | None:
    if prediction.deadline_ns is None:
        return None
    return to_seconds(prediction.deadline_ns - now_ns())
