"""Inject faults into the functions of a local stack for a while."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.local.paths import StackFolder


@contextmanager
def inject_faults(folder: StackFolder, log: Path, **plan: Any) -> Iterator[None]:
    """Inject the faults of a plan during the block; the log gets a line for each.

    `replicate_proxy.testing.fault_injection` describes plans.
    """
    folder.faults_file.write_text(json.dumps({**plan, "log": str(log)}), encoding="utf-8")
    try:
        yield
    finally:
        folder.faults_file.unlink()
