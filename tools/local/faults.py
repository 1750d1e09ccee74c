"""Inject faults into the functions of a local stack for a while."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.local.paths import StackFolder


AWS_EXEMPT_FUNCTIONS = ("-notify", "-usage")
"""Ends of the names of functions without AWS faults.

The emulator ignores the failures that they report for a batch of the stream, and the batch would be lost.
"""


@contextmanager
def inject_faults(folder: StackFolder, log: Path, **plan: Any) -> Iterator[None]:
    """Inject the faults of a plan during the block; the log gets a line for each."""
    write_faults(folder.faults_file, log, **plan)
    try:
        yield
    finally:
        folder.faults_file.unlink()


def write_faults(file: Path, log: Path, **plan: Any) -> None:
    """Write the faults file of a stack at once: functions read it at any time.

    `replicate_proxy.testing.fault_injection` describes plans. Unless the plan names others, the functions in
    `AWS_EXEMPT_FUNCTIONS` have no failing AWS calls.
    """
    content = {"aws_exempt_functions": AWS_EXEMPT_FUNCTIONS, **plan, "log": str(log)}
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(file)
