"""Which size of a function is the best, and how its share of a processor is written for the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.handlers import quota
from tools.handlers.measurements import SizeMeasurement, load_measurements, store_measurements
from tools.handlers.tune import Measurement, choose_best
from tools.local.errors import LocalError

if TYPE_CHECKING:
    from pathlib import Path


def build_measurement(size_mb: int, warm_seconds: float, *, used_mb: float = 80) -> Measurement:
    return Measurement(
        size_mb=size_mb, warm_seconds=warm_seconds, cold_seconds=warm_seconds * 10, used_mb=used_mb
    )


# Half the processor time, half waiting: the time falls with the size, the price rises.
SIZES = [build_measurement(size, 0.02 + 0.02 * 1769 / size) for size in (128, 256, 512, 1024, 1769)]


def test_price_has_the_requests_and_the_share_of_cold_starts() -> None:
    entry = Measurement(size_mb=1024, warm_seconds=0.1, cold_seconds=1.1, used_mb=100)

    assert entry.mean_seconds == pytest.approx(0.11)
    assert entry.price == pytest.approx(0.11 * 13.3334 + 0.20)


def test_background_function_gets_the_cheapest_size_that_holds_it() -> None:
    assert choose_best("usage", SIZES).size_mb == 128
    assert choose_best("usage", [*SIZES[1:], build_measurement(128, 0.1, used_mb=100)]).size_mb == 256


def test_function_of_callers_gets_the_size_with_the_best_balance() -> None:
    assert choose_best("query", SIZES).size_mb in {512, 1024}


def test_function_gets_no_less_than_what_samples_do_not_show() -> None:
    assert choose_best("harvest", SIZES).size_mb == 1769
    assert choose_best("sweep", SIZES).size_mb == 512


def test_plot_reads_what_was_measured_last_of_each_function(tmp_path: Path) -> None:
    small = SizeMeasurement(size_mb=256, warm_ms=80.5, cold_ms=900, used_mb=90, price=0.65)
    large = SizeMeasurement(size_mb=1769, warm_ms=30.5, cold_ms=300, used_mb=95, price=1.23)
    file = tmp_path / "tune.json"

    store_measurements("query", 256, [large], file)
    store_measurements("ingest", 256, [small], file)
    store_measurements("query", 1769, [large, small], file)

    measured = load_measurements(file)
    assert list(measured) == ["ingest", "query"]
    assert measured["query"].best_mb == 1769
    assert measured["query"].sizes == (small, large)
    assert measured["ingest"].sizes == (small,)


@pytest.mark.parametrize("version", [1, 2])
def test_quota_is_the_share_of_each_period(tmp_path: Path, version: int) -> None:
    (tmp_path / ("cpu.max" if version == 2 else "cpu.cfs_quota_us")).touch()

    quota._write_quota(tmp_path, 512 / quota.MB_PER_PROCESSOR)

    if version == 2:
        assert (tmp_path / "cpu.max").read_text() == "5789 20000"
    else:
        assert (tmp_path / "cpu.cfs_period_us").read_text() == "20000"
        assert (tmp_path / "cpu.cfs_quota_us").read_text() == "5789"


def test_machine_that_cannot_limit_a_processor_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(quota, "_CGROUPS", tmp_path / "missing")
    monkeypatch.setattr(quota, "_build_systemd_prefix", lambda _share: None)

    with pytest.raises(LocalError, match="cannot limit the processor"), quota.limit_processor(512):
        pass
