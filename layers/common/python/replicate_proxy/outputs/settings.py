"""Limits of a harvest. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicate_proxy.config import Env


_MB = 1024 * 1024


@dataclass(frozen=True)
class HarvestSettings:
    """Limits of one file, one invocation and one job; docs/images.md lists the variables.

    `max_disk_bytes` bounds the downloads on disk at any time. `reserved_seconds` are kept at the end of an
    invocation to store what was fetched: no file is started then. `keep_originals` stores the source beside a
    compressed image.
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

    @classmethod
    def from_env(cls, env: Env) -> HarvestSettings:
        return cls(
            max_file_bytes=env.integer("HARVEST_MAX_FILE_MB", 500) * _MB,
            max_invocation_bytes=env.integer("HARVEST_MAX_INVOCATION_MB", 4096) * _MB,
            max_disk_bytes=env.integer("HARVEST_SPOOL_MB", 1536) * _MB,
            max_files=env.integer("HARVEST_MAX_FILES", 1000),
            max_parallel_files=env.integer("HARVEST_PARALLEL_FILES", 6),
            fetch_timeout_seconds=env.number("HARVEST_FETCH_SECONDS", 120),
            reserved_seconds=env.number("HARVEST_RESERVE_SECONDS", 45),
            keep_originals=env.flag("KEEP_ORIGINALS", default=True),
        )
