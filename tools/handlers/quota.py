"""Limit a command and its children to a share of a processor, as Lambda does by the memory of a function.

A function with 1,769 MB has the equivalent of one processor, and less or more in proportion (AWS Lambda
Developer Guide, "Configure Lambda function memory"). The kernel enforces the share: by a scope of the user's
systemd, which needs no rights, or by a cgroup of our own, which needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tools.local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MB_PER_PROCESSOR = 1769
# Short, so that a handler of a few milliseconds is throttled as one of a second.
_PERIOD_MICROSECONDS = 20_000
_CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def limit_processor(memory_mb: int) -> Iterator[Sequence[str]]:
    """Yield the words to put before a command. Raises LocalError if no way to limit it works."""
    share = memory_mb / MB_PER_PROCESSOR
    if prefix := _build_systemd_prefix(share):
        yield prefix
        return
    folder = _create_cgroup()
    try:
        _write_quota(folder, share)
        yield ["/bin/sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(folder)]
    finally:
        folder.rmdir()


def _build_systemd_prefix(share: float) -> list[str] | None:
    if shutil.which("systemd-run") is None:
        return None
    period = f"CPUQuotaPeriodSec={_PERIOD_MICROSECONDS}us"
    quota = f"CPUQuota={max(share * 100, 1):.0f}%"
    prefix = ["systemd-run", "--user", "--scope", "--quiet", "--property", quota, "--property", period]
    works = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if works and _has_delegated_processor() else None


def _has_delegated_processor() -> bool:
    """Return whether systemd lets users limit processors; without that it ignores the quota."""
    name = f"user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service/cgroup.controllers"
    file = _CGROUPS / name
    return file.exists() and "cpu" in file.read_text().split()


def _create_cgroup() -> Path:
    """Create a group below the root of the processor's controller, in version 2 or 1 of cgroups."""
    controllers = _CGROUPS / "cgroup.controllers"
    root = _CGROUPS if controllers.exists() and "cpu" in controllers.read_text().split() else _CGROUPS / "cpu"
    folder = root / f"tune-{os.getpid()}"
    try:
        if root == _CGROUPS:
            (root / "cgroup.subtree_control").write_text("+cpu")
        folder.mkdir()
    except OSError as error:
        raise LocalError(
            "cannot limit the processor: neither `systemd-run --user --scope` nor a cgroup of our own works "
            f"here ({error}); run `make tune` as root, or on a Linux machine with systemd"
        ) from error
    return folder


def _write_quota(folder: Path, share: float) -> None:
    quota = round(share * _PERIOD_MICROSECONDS)
    if (folder / "cpu.max").exists():
        (folder / "cpu.max").write_text(f"{quota} {_PERIOD_MICROSECONDS}")
        return
    (folder / "cpu.cfs_period_us").write_text(str(_PERIOD_MICROSECONDS))
    (folder / "cpu.cfs_quota_us").write_text(str(quota))
