"""What the documentation says of measurements is what the tools write from the stored run."""

from __future__ import annotations

from types import ModuleType

import pytest

from tools.bench.stored_run import StoredRun
from tools.docs import costs, performance
from tools.docs.performance import list_pictures
from tools.docs.plot_data import describe_data, find_plots


@pytest.mark.parametrize("tool", [performance, costs], ids=lambda tool: tool.PAGE.name)
def test_page_has_what_the_stored_run_says(tool: ModuleType) -> None:
    page = tool.PAGE.read_text(encoding="utf-8")

    assert page == tool.render_page(StoredRun.load(), page), "run `make bench-docs`"


def test_pictures_are_those_of_the_stored_run() -> None:
    for path, text in list_pictures(StoredRun.load()):
        assert path.read_text(encoding="utf-8") == text, "run `make bench-docs`"


def test_plots_are_those_of_the_stored_run() -> None:
    """The library that draws them is not in this environment; each plot names its data."""
    for path, data in find_plots(StoredRun.load()).items():
        assert describe_data(data) in path.read_text(encoding="utf-8"), "run `make bench-docs`"
