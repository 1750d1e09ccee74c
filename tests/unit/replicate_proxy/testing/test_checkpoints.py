"""The list of step boundaries and the code say the same."""

from __future__ import annotations

import re
from pathlib import Path

from replicate_proxy.testing import checkpoints

PACKAGE = Path(checkpoints.__file__).parents[1]
CALL = re.compile(r"checkpoint\(\s*\"([a-z_.]+)\"\s*\)")


def test_every_marked_boundary_is_listed_and_every_listed_one_is_marked() -> None:
    marked = {name for path in PACKAGE.rglob("*.py") for name in CALL.findall(path.read_text("utf-8"))}

    assert marked == set(checkpoints.CHECKPOINTS)


def test_each_name_begins_with_the_function_that_may_end_there() -> None:
    functions = {"ingest", "dispatch", "webhook", "track", "harvest", "sweep", "notify", "deliver"}

    assert {name.partition(".")[0] for name in checkpoints.CHECKPOINTS} == functions


def test_nothing_stands_there_by_default() -> None:
    for name in checkpoints.CHECKPOINTS:
        checkpoints.no_checkpoint(name)
