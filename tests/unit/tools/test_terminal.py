"""Tools whose output is closed, full, unread, or in an encoding that lacks characters."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tools.local.paths import ROOT

PROGRAM = """
import sys
from tools.local.screen import Screen
from proxyctl.terminal import run_tool

def tool():
    screen = Screen()
    with screen.step("building"):
        pass
    screen.print_table("Tæble", ("name", "value"), [("a", "1 → 2 …")] * 2000)
    sys.stderr.write("the tool has ended\\n")
    return 3

sys.exit(run_tool(tool))
"""
NEEDS_DEVICE = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


def run(redirection: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the tool in a shell; the exit code is the tool's own."""
    command = f'"{sys.executable}" -c "$PROGRAM" {redirection}'
    variables = {**os.environ, "PROGRAM": PROGRAM, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        ["/bin/bash", "-c", command], env=variables, capture_output=True, text=True, check=False
    )


def test_tool_with_an_ordinary_output_returns_its_exit_code() -> None:
    result = run("")

    assert (result.returncode, result.stderr) == (3, "the tool has ended\n")
    assert "✓ building" in result.stdout
    assert "1 → 2 …" in result.stdout


def run_on_terminal(**environment: str) -> bytes:
    """Run the tool on a pseudoterminal and return what it shows."""
    master, slave = pty.openpty()
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment}
    variables.pop("PYTHONIOENCODING", None)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("2000", "2")], env=variables, stdout=slave, stderr=slave
    )
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # EIO is the end
        while chunk := os.read(master, 4096):
            shown += chunk
    os.close(master)
    assert process.wait(timeout=30) == 3
    return shown


def test_terminal_in_locale_c_gets_ascii() -> None:
    assert b"1 -> 2 ..." in run_on_terminal(LC_ALL="C")
    assert run_on_terminal(LC_ALL="C").isascii()


def test_terminal_in_other_locale_gets_utf_8() -> None:
    assert "1 → 2 …".encode() in run_on_terminal(LC_ALL="C.UTF-8")


def test_pipe_in_locale_c_keeps_utf_8() -> None:
    assert "1 → 2 …" in run("", LC_ALL="C").stdout


def test_closed_pipe_is_no_error() -> None:
    result = run('| head -1; exit "${PIPESTATUS[0]}"')

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("✓ building")


@NEEDS_DEVICE
def test_full_output_is_one_line() -> None:
    result = run(">/dev/full")

    assert (result.returncode, result.stderr) == (
        1,
        "error: cannot write the output: No space left on device\n",
    )


def test_closed_output_is_discarded() -> None:
    result = run(">&-")

    assert (result.returncode, result.stdout, result.stderr) == (3, "", "the tool has ended\n")


def test_closed_output_and_errors_are_discarded() -> None:
    result = run(">&- 2>&-")

    assert (result.returncode, result.stdout, result.stderr) == (3, "", "")


def test_ascii_output_has_no_other_characters() -> None:
    result = run("", PYTHONIOENCODING="ascii")

    assert result.returncode == 3
    assert result.stdout.isascii()
    assert "+ building" in result.stdout
    assert "T?ble" in result.stdout
    assert "1 -> 2 ..." in result.stdout
