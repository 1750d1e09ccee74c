"""`Simulator`: the parts of one simulator, put together."""

import asyncio

from tools.simulator.faults import FaultRules
from tools.simulator.lifecycle import DataRetention, PredictionRunner
from tools.simulator.models.catalog import Catalog
from tools.simulator.output_files import MediaPool, OutputFiles
from tools.simulator.predictions import PredictionStore
from tools.simulator.settings import LaunchOptions, Settings
from tools.simulator.stats import Stats
from tools.simulator.uploads import UploadedFiles
from tools.simulator.webhooks import HttpTransport, WebhookSender


class Simulator:
    """The state behind the routes. `settings` and `stats` are replaced while it runs."""

    def __init__(self, launch: LaunchOptions, settings: Settings) -> None:
        self.launch = launch
        self.settings = settings
        self._initial_settings = settings
        self.stats = Stats()
        self.catalog = Catalog()
        self.predictions = PredictionStore()
        self.faults = FaultRules(launch.seed)
        self.uploads = UploadedFiles(launch)
        self.output_files = OutputFiles(launch, MediaPool(launch.seed))
        self._transport = HttpTransport()
        self._webhooks = WebhookSender(
            launch, self.get_settings, self.faults, lambda: self.stats, self._transport
        )
        self.runner = PredictionRunner(self.get_settings, self.output_files, self._webhooks, launch.seed)
        self.retention = DataRetention(self.get_settings, self.predictions, self.output_files)
        self._retention_task: asyncio.Task[None] | None = None

    def get_settings(self) -> Settings:
        """Return the present settings."""
        return self.settings

    async def start(self) -> None:
        """Start the background work."""
        self._retention_task = asyncio.create_task(self.retention.run())

    async def stop(self) -> None:
        """Stop every task and close every connection."""
        if self._retention_task is not None:
            self._retention_task.cancel()
        await self.runner.stop()
        await self._webhooks.stop()
        await self._transport.close()

    async def reset(self) -> None:
        """Return to the state after the start. The media pool stays, because it is expensive to fill."""
        await self.runner.stop()
        await self._webhooks.stop()
        self.predictions.clear()
        self.output_files.clear()
        self.uploads.clear()
        self.faults.reset()
        self.stats = Stats()
        self.settings = self._initial_settings
