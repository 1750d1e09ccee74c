"""The deployment's dead-letter queues, and where their messages go back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.admin.dead_letters import DeadLetterQueue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.admin.invocations import Invocations
    from replicate_proxy.config import Env

__all__ = ["dead_letter_queues"]

_WITH_SOURCE = ("dispatch", "track", "harvest", "notify")
_STREAM_NOTE = "Holds positions in the table's stream; a redrive reads and tells the changes, for 24 hours"
_SWEEP_NOTE = "Holds failed runs of the schedules; a redrive makes them again, as the next run does"


def dead_letter_queues(env: Env, invocations: Invocations) -> Mapping[str, DeadLetterQueue]:
    sources = {name: env.text(f"{name.upper()}_QUEUE_URL") for name in _WITH_SOURCE}
    queues = {
        name: DeadLetterQueue(env.text(f"{name.upper()}_DEAD_LETTER_QUEUE_URL"), source=url)
        for name, url in sources.items()
    }
    targets = {url.rpartition("/")[2]: url for url in sources.values()}
    return {
        **queues,
        "bus": DeadLetterQueue(env.text("BUS_DEAD_LETTER_QUEUE_URL"), targets=targets),
        "notify-stream": DeadLetterQueue(
            env.text("NOTIFY_STREAM_DEAD_LETTER_QUEUE_URL"), again=invocations.again, note=_STREAM_NOTE
        ),
        "sweep": DeadLetterQueue(
            env.text("SWEEP_DEAD_LETTER_QUEUE_URL"), again=invocations.again, note=_SWEEP_NOTE
        ),
    }
