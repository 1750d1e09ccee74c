"""Read what the functions log, as Powertools formats it."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Iterator


class LogReader(logging.Handler):
    """Collects the records of the logger."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []
        self.setFormatter(logger.registered_formatter)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(json.loads(self.format(record)))

    def find(self, message: str) -> list[dict[str, Any]]:
        """Return the records with this message, in order."""
        return [record for record in self.records if record["message"] == message]


@contextmanager
def read_log() -> Iterator[LogReader]:
    """Collect the records of the block, from level INFO on."""
    powertools_logger = logging.getLogger(logger.name)
    reader, level = LogReader(), powertools_logger.level
    powertools_logger.addHandler(reader)
    powertools_logger.setLevel(logging.INFO)
    try:
        yield reader
    finally:
        powertools_logger.setLevel(level)
        powertools_logger.removeHandler(reader)
