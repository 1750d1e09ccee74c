from pathlib import Path

import pytest

from tools.local import build
from tools.local.errors import LocalError


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A project of one source file, and a note of each `sam build`, which leaves a template."""
    made: list[str] = []
    template = tmp_path / "built/template.yaml"
    template.parent.mkdir()
    (tmp_path / "template.yaml").write_text("Resources: {}\n", "utf-8")

    def build_it() -> None:
        made.append((tmp_path / "template.yaml").read_text("utf-8"))
        template.write_text(made[-1], "utf-8")

    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "TEMPLATE", template)
    monkeypatch.setattr(build, "_BUILT", tmp_path / "built/record")
    monkeypatch.setattr(build, "_build", build_it)
    return made


def test_what_is_built_is_not_built_again(builds: list[str]) -> None:
    assert build.build() == build.build()
    assert len(builds) == 1


def test_a_changed_source_is_built(builds: list[str], tmp_path: Path) -> None:
    build.build()
    (tmp_path / "functions/ingest").mkdir(parents=True)
    (tmp_path / "functions/ingest/app.py").write_text("", "utf-8")
    build.build()
    assert len(builds) == 2


def test_byte_code_is_no_source(builds: list[str], tmp_path: Path) -> None:
    build.build()
    (tmp_path / "functions/ingest/__pycache__").mkdir(parents=True)
    (tmp_path / "functions/ingest/__pycache__/app.pyc").write_bytes(b"")
    build.build()
    assert len(builds) == 1


def test_a_build_that_failed_or_whose_result_is_gone_is_done_again(
    builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build.build()
    build.TEMPLATE.unlink()
    build.build()
    assert len(builds) == 2

    def fails() -> None:
        raise LocalError("sam build failed")

    good = build._build
    monkeypatch.setattr(build, "_build", fails)
    build.TEMPLATE.unlink()
    with pytest.raises(LocalError):
        build.build()
    monkeypatch.setattr(build, "_build", good)
    build.build()
    assert len(builds) == 3
