"""The processor time of a stack's processes, with real ones."""

from __future__ import annotations

import os
import subprocess
import sys

from tools.bench.processor_time import BENCHMARK, measure_processor_time
from tools.local.paths import StackFolder
from tools.local.processes import STACK_VARIABLE

# It works for a while, says so, and waits; its child, without the environment of the stack, does the same.
_WORK = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\nsys.stdin.read()"
_PARENT = f"""
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", {_WORK!r}, ".".join(["replicate_proxy", "images", "worker"])],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={{}},
)
child.stdout.readline()
{_WORK}
child.communicate()
"""


def test_time_of_processes_and_their_children_is_counted_by_kind() -> None:
    folder = StackFolder("processor-time")
    command = [sys.executable, "-c", _PARENT, "tools.simulator"]
    environment = {**os.environ, STACK_VARIABLE: str(folder.path)}

    with measure_processor_time(folder) as used:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
    process.communicate()

    assert used["local Replicate"] >= 0.2
    assert used["image workers"] >= 0.2
    assert used[BENCHMARK] > 0
    assert used["functions"] == 0
