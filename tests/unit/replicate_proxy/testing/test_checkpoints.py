"""The list of checkpoints agrees with the calls in the code."""

from __future__ import annotations

import re
from pathlib import Path

from replicate_proxy.testing import checkpoints

PACKAGE = Path(checkpoints.__file__).parents[1]
CALL = re.compile(r"checkpoint\(\s*\"([a-z_.]+)\"\s*\)")


def test_checkpoints_in_code_equal_list() -> None:
    in_code = {name for path in PACKAGE.rglob("*.py") for name in CALL.findall(path.read_text("utf-8"))}

    assert in_code == set(checkpoints.CHECKPOINTS)


def test_checkpoint_name_begins_with_function_name() -> None:
    functions = {
        "ingest",
        "dispatch",
        "webhook",
        "track",
        "harvest",
        "sweep",
        "notify",
        "deliver",
        "admin",
        "batch",
    }

    assert {name.partition(".")[0] for name in checkpoints.CHECKPOINTS} == functions
