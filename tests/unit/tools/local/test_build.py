from pathlib import Path

import pytest

from tools.local import build
from tools.local.errors import LocalError
from tools.local.paths import ROOT


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources of each `sam build` of a project with one file; a build leaves a template."""
    recorded: list[str] = []
    (tmp_path / "template.yaml").write_text("Resources: {}\n", "utf-8")

    def run_sam_build(folder: Path) -> None:
        recorded.append((tmp_path / "template.yaml").read_text("utf-8"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "template.yaml").write_text(recorded[-1], "utf-8")

    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "BUILD_FOLDER", tmp_path / "built")
    monkeypatch.setattr(build, "_run_sam_build", run_sam_build)
    monkeypatch.setattr(build, "_prepare_for_host", lambda _: None)
    return recorded


def test_build_runs_once_while_nothing_changes(builds: list[str]) -> None:
    assert build.build_template() == build.build_template()
    assert len(builds) == 1


@pytest.mark.parametrize("source", ["functions/ingest/app.py", "infrastructure/network.yaml"])
def test_build_runs_again_when_a_source_is_added(builds: list[str], tmp_path: Path, source: str) -> None:
    build.build_template()
    (tmp_path / source).parent.mkdir(parents=True)
    (tmp_path / source).write_text("", "utf-8")
    build.build_template()

    assert len(builds) == 2


def test_build_ignores_byte_code(builds: list[str], tmp_path: Path) -> None:
    build.build_template()
    (tmp_path / "functions/ingest/__pycache__").mkdir(parents=True)
    (tmp_path / "functions/ingest/__pycache__/app.pyc").write_bytes(b"")
    build.build_template()

    assert len(builds) == 1


def test_build_runs_again_when_its_result_is_gone(builds: list[str]) -> None:
    build.build_template().unlink()
    build.build_template()

    assert len(builds) == 2


def test_build_runs_again_after_it_failed(builds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise LocalError("sam build failed")

    template = build.build_template()
    succeed = build._run_sam_build
    monkeypatch.setattr(build, "_run_sam_build", fail)
    template.unlink()
    with pytest.raises(LocalError):
        build.build_template()
    template.write_text("left by the failed build", "utf-8")
    monkeypatch.setattr(build, "_run_sam_build", succeed)
    build.build_template()

    assert len(builds) == 2


@pytest.mark.parametrize(("system", "expected_builds"), [("Linux", 1), ("Darwin", 2)])
def test_containers_share_the_build_of_a_linux_host_only(
    builds: list[str], monkeypatch: pytest.MonkeyPatch, system: str, expected_builds: int
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)

    build.build_template()
    build.build_template(for_containers=True)
    build.build_template(for_containers=True)

    assert len(builds) == expected_builds


def test_package_folders_are_those_of_the_layer_and_of_built_functions_with_packages(tmp_path: Path) -> None:
    for built in (
        "CommonLayer/python/replicate_proxy",
        "HarvestFunction",
        "AuthorizeFunction",
        "IngestFunction",
    ):
        (tmp_path / built).mkdir(parents=True)

    assert set(build.list_package_folders(tmp_path)) == {
        (ROOT / "layers/common/python/requirements.txt", tmp_path / "CommonLayer/python"),
        (ROOT / "functions/harvest/requirements.txt", tmp_path / "HarvestFunction"),
        (ROOT / "functions/authorize/requirements.txt", tmp_path / "AuthorizeFunction"),
        (ROOT / "functions/ingest/requirements.txt", tmp_path / "IngestFunction"),
    }


def test_lock_files_have_hashes_and_no_urls() -> None:
    for lock_file in [*ROOT.glob("requirements/*.txt"), *ROOT.glob("functions/*/requirements.txt")]:
        text = lock_file.read_text(encoding="utf-8")
        assert "://" not in text
        assert lock_file.name.startswith("runtime-") or text.count("--hash=sha256:") >= text.count("==")


def test_layer_does_not_contain_packages_of_the_runtime() -> None:
    lock = (ROOT / "layers/common/python/requirements.txt").read_text(encoding="utf-8")

    assert "boto3==" not in lock
    assert "botocore==" not in lock
