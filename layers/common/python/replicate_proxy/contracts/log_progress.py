"""The progress of a prediction in the logs of its model, as Replicate's Python client reads it."""

from __future__ import annotations

import re
from typing import Any

# As in `replicate.prediction.Prediction.Progress` of PyPI `replicate` 1.0.7: a line of tqdm.
_PATTERN = re.compile(r"\s*(\d+)%\s*\|.+?\|\s*(\d+)/(\d+)")
# Python converts no text of more digits to an integer (docs.python.org, sys.set_int_max_str_digits); real
# numbers have a few.
_MAX_DIGITS = 15


def parse_progress(logs: str) -> dict[str, Any] | None:
    """Return the progress of the last line that has one: `percentage` (0 to 1), `current` and `total`."""
    for line in reversed(logs.split("\n")):
        match = _PATTERN.match(line.strip())
        if match and all(len(number) <= _MAX_DIGITS for number in match.groups()):
            percentage, current, total = map(int, match.groups())
            return {"percentage": percentage / 100, "current": current, "total": total}
    return None
