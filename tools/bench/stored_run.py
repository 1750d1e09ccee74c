"""The stored run: the last results of each part of the benchmarks, dated, with commit and machine.

A part is replaced as a whole when it is run again; the others keep their date. Of several repeats the median
is the value, and all values are kept, since their spread says how much of a change is noise.
"""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RESULTS_FILE = Path(__file__).with_name("results.json")
_TARGET = re.compile(r"(<=|<|>=|>|=) ([\d.]+)(?: \(.*\))?")
_LOWER_IS_BETTER = frozenset(
    {"ms", "s", "bytes", "MB", "requests", "units", "$", "per job", "ms per job", "of PNG"}
    | {"x its time", "x sharp's", "x all-in", "duplicates", "lost results", "predictions per request"}
)
_HIGHER_IS_BETTER = frozenset({"jobs/s", "images/s", "SSIM", "SSIMULACRA2", "jobs", "events", "streams"})


@dataclass(frozen=True, slots=True)
class Result:
    """One measured value: the median of its repeats, whose values are in the order of the repeats.

    `value` is None if it could not be measured, `met` if there is no target.
    """

    name: str
    value: float | None
    unit: str
    target: str = ""
    met: bool | None = None
    values: tuple[float, ...] = ()

    @property
    def spread(self) -> float | None:
        """Lowest to highest repeat, as a share of the value; None without repeats."""
        if len(self.values) < 2 or not self.value:
            return None
        return (max(self.values) - min(self.values)) / abs(self.value)

    def rate(self, value: float) -> float | None:
        """Return a number that is higher for a better value; None if the unit has no better or worse."""
        target = _TARGET.fullmatch(self.target)
        sign = target[1][0] if target else ""
        if target and sign == "=":
            return -abs(value - float(target[2]))
        if sign == "<" or (not sign and self.unit in _LOWER_IS_BETTER):
            return -value
        if sign == ">" or (not sign and self.unit in _HIGHER_IS_BETTER):
            return value
        return None


@dataclass(frozen=True, slots=True)
class Part:
    """The last run of one part of the benchmarks.

    `date` is UTC in ISO 8601. `load` is the average load of the machine before the run, and `loop_seconds`
    the time that it took for ten million additions. `samples` are the single values behind results, of all
    repeats, by name: {"unit": …, "values": […]}.
    """

    date: str
    commit: str
    machine: Mapping[str, Any]
    results: tuple[Result, ...]
    repeats: int = 1
    load: float | None = None
    loop_seconds: float | None = None
    samples: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        results = tuple(
            Result(**{**result, "values": tuple(result["values"])}) for result in document["results"]
        )
        return cls(**{**document, "results": results})


@dataclass(frozen=True, slots=True)
class StoredRun:
    """The parts by name."""

    parts: Mapping[str, Part] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path = RESULTS_FILE) -> Self:
        """Read a run; it is empty if there is no file."""
        if not path.exists():
            return cls()
        parts = json.loads(path.read_text(encoding="utf-8"))["parts"]
        return cls({name: Part.from_json(part) for name, part in parts.items()})

    def save(self, path: Path = RESULTS_FILE) -> None:
        """Write the run, parts in the order of their names, and each result in a line of its own."""
        parts = ",\n".join(
            f"{json.dumps(name)}: {_dump_part(part)}" for name, part in sorted(self.parts.items())
        )
        path.write_text(f'{{"parts": {{\n{parts}\n}}}}\n', encoding="utf-8")

    def replace_part(self, name: str, part: Part) -> StoredRun:
        return StoredRun({**self.parts, name: part})

    def list_results(self) -> list[Result]:
        return [result for part in self.parts.values() for result in part.results]

    def find_result(self, name: str) -> Result | None:
        return next((result for result in self.list_results() if result.name == name), None)


def merge_repeats(repeats: Sequence[Iterable[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return results, samples and pictures of the journals of all repeats, as `Part` takes them."""
    results: dict[str, list[Mapping[str, Any]]] = {}
    samples: dict[str, Any] = {}
    pictures: dict[str, Any] = {}
    for line in (line for journal in repeats for line in journal):
        if "samples" in line:
            entry = samples.setdefault(line["samples"], {"unit": line["unit"], "values": []})
            entry["values"] += line["values"]
        elif "picture" in line:
            pictures[line["picture"]] = line["content"]
        else:
            results.setdefault(line["name"], []).append(line)
    merged = tuple(_merge(same) for same in results.values())
    return {"results": merged, "samples": samples, "pictures": pictures, "repeats": len(repeats)}


def is_met(target: str, value: float) -> bool | None:
    """Return whether a value meets a target such as `<= 300`; None if the target is not of this form."""
    match = _TARGET.fullmatch(target)
    if not match:
        return None
    bound = float(match[2])
    return {
        "<=": value <= bound,
        "<": value < bound,
        ">=": value >= bound,
        ">": value > bound,
        "=": value == bound,
    }[match[1]]


def _merge(same: Sequence[Mapping[str, Any]]) -> Result:
    """Return the median of the repeats. A target of another form is met if most repeats have met it."""
    last = same[-1]
    values = tuple(line["value"] for line in same if line["value"] is not None)
    value = _round(statistics.median(values)) if values else None
    met = is_met(last["target"], value) if value is not None else None
    verdicts = [line["met"] for line in same if line["met"] is not None]
    if met is None and verdicts:
        met = sum(verdicts) * 2 > len(verdicts)
    return Result(last["name"], value, last["unit"], last["target"], met, values)


def _dump_part(part: Part) -> str:
    fields = asdict(part)
    results = ",\n  ".join(json.dumps(result, ensure_ascii=False) for result in fields.pop("results"))
    lines = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "{\n " + ",\n ".join([*lines, f'"results": [\n  {results}\n ]']) + "\n}"


def _round(value: float) -> float:
    return int(value) if value == int(value) else round(value, 6)
