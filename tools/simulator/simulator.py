"""Everything one simulator consists of, put together."""

import asyncio

from tools.simulator.delivery import Delivery
from tools.simulator.engine import Engine
from tools.simulator.faults.book import FaultBook
from tools.simulator.files import Uploads
from tools.simulator.media.pool import MediaPool
from tools.simulator.models.catalog import Catalog
from tools.simulator.ratelimit import CreateLimit
from tools.simulator.retention import Retention
from tools.simulator.settings import Knobs, Launch
from tools.simulator.stats import Stats
from tools.simulator.store import Store
from tools.simulator.transport import AiohttpTransport
from tools.simulator.webhooks import Webhooks


class Simulator:
    """The state behind the routes; `knobs` may be replaced while running."""

    def __init__(self, launch: Launch, knobs: Knobs) -> None:
        self.launch = launch
        self.knobs = knobs
        self.initial_knobs = knobs
        self.catalogue = Catalog()
        self.store = Store()
        self.stats = Stats()
        self.faults = FaultBook(launch.seed)
        self.create_limit = CreateLimit(self.current_knobs)
        self.uploads = Uploads(launch)
        self.delivery = Delivery(launch, MediaPool(launch.seed))
        self.transport = AiohttpTransport()
        self.webhooks = Webhooks(launch, self.current_knobs, self.faults, lambda: self.stats, self.transport)
        self.engine = Engine(self.current_knobs, self.delivery, self.webhooks, launch.seed)
        self.retention = Retention(self.current_knobs, self.store, self.delivery)
        self._sweeper: asyncio.Task[None] | None = None

    def current_knobs(self) -> Knobs:
        """The knobs as they are now."""
        return self.knobs

    async def open(self) -> None:
        """Begin what runs in the background."""
        self._sweeper = asyncio.create_task(self.retention.run())

    async def close(self) -> None:
        """End every task and connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self.engine.close()
        await self.webhooks.close()
        await self.transport.close()

    async def reset(self) -> None:
        """As freshly started; built pictures stay, for they cost CPU."""
        await self.engine.close()
        await self.webhooks.close()
        self.store.clear()
        self.delivery.clear()
        self.uploads.clear()
        self.faults.reset()
        self.stats = Stats()
        self.knobs = self.initial_knobs
