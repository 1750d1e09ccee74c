from pathlib import Path

from tools.local.build import list_package_folders
from tools.local.paths import ROOT


def test_the_layer_and_each_function_with_libraries_meet_their_lock_file(tmp_path: Path) -> None:
    for built in (
        "CommonLayer/python/replicate_proxy",
        "HarvestFunction",
        "AuthorizeFunction",
        "IngestFunction",
    ):
        (tmp_path / built).mkdir(parents=True)

    assert set(list_package_folders(tmp_path)) == {
        (ROOT / "layers/common/python/requirements.txt", tmp_path / "CommonLayer/python"),
        (ROOT / "functions/harvest/requirements.txt", tmp_path / "HarvestFunction"),
        (ROOT / "functions/authorize/requirements.txt", tmp_path / "AuthorizeFunction"),
    }


def test_locks_carry_hashes_and_no_address() -> None:
    for lock in [*ROOT.glob("requirements/*.txt"), *ROOT.glob("functions/*/requirements.txt")]:
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        assert lock.name.startswith("runtime-") or text.count("--hash=sha256:") >= text.count("==")


def test_the_runtimes_own_libraries_are_not_in_the_layer() -> None:
    lock = (ROOT / "layers/common/python/requirements.txt").read_text(encoding="utf-8")

    assert "boto3==" not in lock
    assert "botocore==" not in lock
