"""The folder of a process for its downloads, and the removal of those that killed processes have left.

Lambda kills the process of an invocation that exceeds its timeout, but keeps the temporary disk for the next
one. On the local stack several processes share that disk. A process therefore locks its folder until it ends:
a folder whose lock is free is abandoned.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "harvest-"


def create_working_folder() -> Path:
    """Remove abandoned folders, and return a new one that is this process's until it ends."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _remove_if_abandoned(folder)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Another process that starts now may remove the folder before it is locked.
        with suppress(OSError):
            lock = _lock(folder)
            if folder.exists():
                return folder
            os.close(lock)


def _remove_if_abandoned(folder: Path) -> None:
    # Raised for folders that are in use, removed meanwhile, or another user's.
    with suppress(OSError):
        lock = _lock(folder)
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _lock(folder: Path) -> int:
    """Return a descriptor that holds the lock until it is closed. Raise OSError if another process does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
