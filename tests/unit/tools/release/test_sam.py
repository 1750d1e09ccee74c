"""The arguments and the template of `sam deploy`. tests/integration/test_release_deployment.py runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cfn_flip import load_yaml

from tools.release.sam import Sam
from tools.template.stack import MAIN, ROOT

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "a" * 40


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with commands that succeed and do nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sam", "python3.13"):
        (folder / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def deploy(tools: Path, checkout: Path, *, immediate: bool = False) -> str:
    """Release the commit gradually and return the mark of the release that all functions have."""
    built = checkout / ".aws-sam/build/template.yaml"
    built.parent.mkdir(parents=True, exist_ok=True)
    built.write_text((ROOT / MAIN).read_text(encoding="utf-8"), encoding="utf-8")

    Sam(tools, "AllAtOnce").deploy(checkout, "dev", COMMIT, immediate=immediate)

    template = load_yaml(built.read_text(encoding="utf-8"))
    return str(template["Globals"]["Function"]["Environment"]["Variables"]["RELEASE"])


def test_each_gradual_release_has_a_mark_of_its_own(tools: Path, tmp_path: Path) -> None:
    """Lambda would publish no version of a function that is as it was when its last version was published."""
    marks = {deploy(tools, tmp_path, immediate=immediate) for immediate in (False, False, True)}

    assert len(marks) == 3
    assert all(mark.startswith(COMMIT[:12]) for mark in marks)
    # tests/template/test_limits.py leaves 60 bytes for it.
    assert len(f'"RELEASE":"{max(marks, key=len)}",') <= 60
