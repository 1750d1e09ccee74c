"""What a cold start of the built functions may cost, compared with one that loads everything."""

from __future__ import annotations

import pytest

from tools.bench.imports import ALL_IN, TARGET_SHARES, measure_milliseconds
from tools.local.build import build_template
from tools.local.stack import Stack

# Other tests run at the same time. `make bench` measures more often, and compares with the targets.
SLACK = 0.15


@pytest.mark.slow
@pytest.mark.usefixtures("stack")
def test_cold_import_is_far_below_one_of_everything(stack: Stack) -> None:
    artifacts = build_template().parent

    measured = measure_milliseconds(artifacts, (ALL_IN, *TARGET_SHARES), rounds=4)

    shares = {name: min(times) / min(measured[ALL_IN]) for name, times in measured.items()}
    over = {name: share for name, share in shares.items() if share > TARGET_SHARES.get(name, 1) + SLACK}
    assert over == {}


def test_layer_contains_byte_code_that_is_used_without_a_check() -> None:
    layer = build_template().parent / "CommonLayer/python"
    sources = sorted((layer / "replicate_proxy").rglob("*.py"))
    assert sources

    for source in sources:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
        # Flags of the file (PEP 552): 1 is a hash of the source that is not compared with it.
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 1
