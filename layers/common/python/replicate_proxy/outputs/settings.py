"""Limits of a harvest. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.settings import (
    HARVEST_FETCH_TIMEOUT_SECONDS,
    HARVEST_MAX_DISK_MB,
    HARVEST_MAX_FILE_MB,
    HARVEST_RESERVED_SECONDS,
    KEEP_ORIGINALS,
)

if TYPE_CHECKING:
    from replicate_proxy.config import Environment


_MB = 1024 * 1024


@dataclass(frozen=True)
class HarvestSettings:
    """Limits of one file, one invocation and one job; docs/settings.md lists those that can be set.

    `max_disk_bytes` bounds the files on disk at any time: downloads, and the images made of them, which take
    as much again. `reserved_seconds` are kept at the end of an invocation to store what was fetched: no file
    is started then. `keep_originals` stores the source beside a compressed image.
    """

    max_file_bytes: int = 500 * _MB
    max_invocation_bytes: int = 4096 * _MB
    max_disk_bytes: int = 1536 * _MB
    max_files: int = 1000
    max_parallel_files: int = 6
    fetch_timeout_seconds: float = 120.0
    reserved_seconds: float = 45.0
    keep_originals: bool = True
    max_text_bytes_per_job: int = 65_536

    @property
    def storing_seconds(self) -> float:
        """Return the part of the reserved seconds in which no image is compressed any more."""
        return self.reserved_seconds / 2

    @property
    def saving_seconds(self) -> float:
        """Return the part of them that is for the records: a file that is not stored by then is left."""
        return self.reserved_seconds / 4

    @classmethod
    def from_env(cls, env: Environment) -> HarvestSettings:
        return cls(
            max_file_bytes=env[HARVEST_MAX_FILE_MB] * _MB,
            max_disk_bytes=env[HARVEST_MAX_DISK_MB] * _MB,
            fetch_timeout_seconds=env[HARVEST_FETCH_TIMEOUT_SECONDS],
            reserved_seconds=env[HARVEST_RESERVED_SECONDS],
            keep_originals=env[KEEP_ORIGINALS],
        )
