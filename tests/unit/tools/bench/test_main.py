"""The command of the benchmarks, with fake ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tools.bench.__main__ as bench
from tools.bench.results import record_result, record_samples
from tools.bench.stored_run import Part, Result, StoredRun

OLD = Part("2026-11-20T10:00:00Z", "c0ffee", {}, (Result("old", 1, "ms"),))


def measure(values: Iterator[float]) -> Callable[[], int]:
    def benchmark() -> int:
        value = next(values)
        record_result("fake.p50", value, "ms", "<= 5", value <= 5)
        record_samples("fake", [value], "ms")
        return 0

    return benchmark


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "results.json"
    StoredRun({"fake": OLD, "other": OLD}).save(path)
    monkeypatch.setattr(bench, "BENCHMARKS", {"fake": measure(iter([3, 9, 4])), "broken": lambda: 1})
    monkeypatch.setattr(bench, "measure_loop_seconds", lambda: 0.5)
    return path


def test_part_is_stored_with_median_date_commit_and_machine(output: Path) -> None:
    assert bench.main(["fake", "--repeats", "3", "--output", str(output)]) == 0

    run = StoredRun.load(output)
    part = run.parts["fake"]
    assert part.results == (Result("fake.p50", 4, "ms", "<= 5", True, (3, 9, 4)),)
    assert part.samples["fake"]["values"] == [3, 9, 4]
    assert (part.repeats, part.date > OLD.date, len(part.commit) >= 40) == (3, True, True)
    assert part.loop_seconds == 0.5
    assert {"processor", "cores", "memory_gb", "python_build", "system"} <= part.machine.keys()
    assert run.parts["other"] == OLD


def test_failed_part_leaves_what_is_stored(output: Path) -> None:
    with pytest.raises(SystemExit, match="broken failed with 1"):
        bench.main(["broken", "--output", str(output)])

    assert StoredRun.load(output).parts == {"fake": OLD, "other": OLD}


@pytest.mark.parametrize(("stored_value", "code"), [(4.5, 1), (8, 0)])
def test_compare_fails_if_target_that_was_met_is_missed(
    output: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stored_value: float, code: int
) -> None:
    stored = Part("2026-11-20T10:00:00Z", "c0ffee", {}, (Result("fake.p50", stored_value, "ms", "<= 5"),))
    new = Part("2026-11-21T10:00:00Z", "c0ffee", {}, (Result("fake.p50", 6, "ms", "<= 5", False),))
    monkeypatch.setattr(StoredRun, "load", lambda path=None: StoredRun({"fake": new if path else stored}))

    assert bench.main(["fake", "--compare", "--new", str(output)]) == code


def test_compare_runs_the_part_and_stores_nothing(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = output.read_bytes()

    assert bench.main(["fake", "--compare", "--output", str(output)]) == 0

    assert output.read_bytes() == before
    assert "fake: not in the stored run" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["unknown"], ["fake", "--repeats", "0"], ["fake", "--new", "x"]])
def test_wrong_arguments_are_refused(output: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        bench.main(arguments)

    assert error.value.code == 2
