"""The progress in the logs is what Replicate's Python client reads in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replicate.prediction import Prediction

from replicate_proxy.contracts.log_progress import parse_progress

LINES = st.one_of(
    st.text(st.sampled_from("0123456789%|/ \t\r█▎ab"), max_size=40),
    st.builds(
        "{}{}%|{}|{}{}/{} {}".format,
        st.sampled_from(["", " ", "x"]),
        st.integers(0, 120),
        st.text(st.sampled_from("█ |"), max_size=5),
        st.sampled_from(["", " "]),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
        st.sampled_from(["", "[00:01<00:02, 1it/s]", " 5%|█| 1/2"]),
    ),
)


def parse_as_client(logs: str) -> dict[str, Any] | None:
    progress = Prediction.Progress.parse(logs)
    if progress is None:
        return None
    return {"percentage": progress.percentage, "current": progress.current, "total": progress.total}


@given(st.lists(LINES, max_size=6).map("\n".join))
def test_progress_is_that_of_the_client(logs: str) -> None:
    assert parse_progress(logs) == parse_as_client(logs)


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        ("", None),
        ("Using seed: 1\n", None),
        (
            "Using seed: 1\n 0%|          | 0/50 [00:00<?, ?it/s]\n 42%|████▏     | 21/50 [00:01<00:02]\n",
            {"percentage": 0.42, "current": 21, "total": 50},
        ),
        ("100%|██████████| 4/4\nsaving", {"percentage": 1.0, "current": 4, "total": 4}),
        # More digits than Python reads as a number
        (f"5%|█| {'9' * 5000}/{'9' * 5000}", None),
    ],
)
def test_last_line_with_a_progress_bar_counts(logs: str, expected: dict[str, Any] | None) -> None:
    assert parse_progress(logs) == expected
