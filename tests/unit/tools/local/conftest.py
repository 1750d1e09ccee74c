from pathlib import Path

import pytest

from tools.local import paths
from tools.local.paths import StackFolder


@pytest.fixture
def stack_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackFolder:
    """An empty stack folder in the test's own folder."""
    monkeypatch.setattr(paths, "LOCAL_FOLDER", tmp_path)
    folder = StackFolder("unit")
    folder.create()
    return folder
