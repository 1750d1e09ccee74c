"""Which sample `make invoke` takes for a function."""

from tools.local.invoke.samples import MAIN_SAMPLES
from tools.local.paths import ROOT


def test_every_function_has_a_main_sample() -> None:
    assert MAIN_SAMPLES.keys() == {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}


def test_main_samples_are_documented() -> None:
    page = (ROOT / "events" / "README.md").read_text(encoding="utf-8")

    for function, sample in MAIN_SAMPLES.items():
        assert (ROOT / "events" / function / f"{sample}.json").is_file()
        assert f"`{function}/{sample}`" in page
