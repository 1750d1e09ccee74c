"""The folder of a process for its downloads, which others remove once it has ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from replicate_proxy.outputs.working_folder import create_working_folder

DOWNLOADING_PROCESS = """
import pathlib, time
from replicate_proxy.outputs.working_folder import create_working_folder

folder = create_working_folder()
(folder / "source").write_bytes(b"x" * 1000)
print(folder, flush=True)
time.sleep(120)
"""


@pytest.fixture(autouse=True)
def temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    command = [sys.executable, "-c", DOWNLOADING_PROCESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def read_folder(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def test_folder_of_a_killed_process_is_removed(process: subprocess.Popen[str]) -> None:
    folder = read_folder(process)
    assert (folder / "source").exists()

    process.send_signal(signal.SIGKILL)
    process.wait()
    create_working_folder()

    assert not folder.exists()


def test_folders_in_use_and_of_others_are_kept(
    process: subprocess.Popen[str], temporary_directory: Path
) -> None:
    theirs, ours = read_folder(process), create_working_folder()
    (other := temporary_directory / "other").mkdir()
    (link := temporary_directory / "harvest-link").symlink_to(other)

    another = create_working_folder()

    assert (theirs / "source").exists()
    assert ours != another
    assert ours.exists()
    assert other.exists()
    assert link.is_symlink()


def test_folder_is_created_again_when_another_process_removes_it_before_it_is_locked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_folder, made = tempfile.mkdtemp, list[str]()

    def make_and_lose_first(prefix: str) -> str:
        made.append(make_folder(prefix=prefix))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose_first)

    assert create_working_folder() == Path(made[1])
