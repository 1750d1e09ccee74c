"""Removes the data of old predictions (Replicate docs, predictions: data retention)."""

import asyncio
from collections.abc import Callable

from tools.simulator import clock
from tools.simulator.delivery import Delivery
from tools.simulator.settings import Knobs
from tools.simulator.store import Prediction, Store, age

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds


class Retention:
    """Looks now and then for predictions completed longer ago than the retention."""

    def __init__(self, knobs: Callable[[], Knobs], store: Store, delivery: Delivery) -> None:
        self._knobs = knobs
        self._store = store
        self._delivery = delivery

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, self._knobs().retention / 10)))
            self.sweep()

    def sweep(self) -> None:
        """Remove what is due now."""
        now = clock.now_ns()
        for prediction in self._store.all():
            if not prediction.data_removed and age(prediction, now) >= self._knobs().retention:
                self.remove(prediction)

    def remove(self, prediction: Prediction) -> None:
        """Input, output, logs and files go; the record stays."""
        self._delivery.remove(prediction.files)
        prediction.files = []
        prediction.input, prediction.output, prediction.logs = {}, None, ""
        prediction.data_removed = True
