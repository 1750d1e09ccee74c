"""`local/lab`: a model whose input says exactly what it does and puts out."""

from typing import Any

from tools.simulator.media.spec import output_file
from tools.simulator.models.base import JsonSchema, Run, Script, Step

_NUMBER: JsonSchema = {"type": "number", "minimum": 0}

INPUTS: dict[str, JsonSchema] = {
    "output": {"description": "any JSON; an object with `$file` becomes a file"},
    "partial": {"type": "array", "description": "outputs shown one after the other while it runs"},
    "logs": {"type": "string", "description": "written line by line over the run"},
    "status": {"type": "string", "enum": ["succeeded", "failed"]},
    "error": {"type": "string"},
    "startup": {**_NUMBER, "description": "seconds in `starting`"},
    "latency": {**_NUMBER, "description": "seconds in `processing`"},
    "hold": {"type": "boolean", "description": "wait for /_control/predictions/{id}/complete"},
    "metrics": {"type": "object"},
}


def lab(run: Run) -> Script:
    """The script that the input spells out; ValueError or TypeError for a file it cannot make."""
    lines = str(run.get("logs", "")).splitlines(keepends=True)
    partial = list(run.get("partial", []))
    steps = [Step(at=n / (len(lines) + 1), logs=line) for n, line in enumerate(lines, 1)]
    steps += [Step(at=n / (len(partial) + 1), output=with_files(shown)) for n, shown in enumerate(partial, 1)]
    return Script(
        output=with_files(run.get("output", None)),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        status=run.get("status", "succeeded"),
        error=run.get("error", None),
        startup=run.get("startup", None),
        latency=run.get("latency", None),
        hold=run.get("hold", False),
        metrics=run.get("metrics", {}),
    )


def with_files(value: Any) -> Any:
    """The JSON with every `{"$file": …}` object replaced by the OutputFile it describes."""
    if isinstance(value, dict):
        if "$file" in value:
            return output_file(value)
        return {key: with_files(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_files(item) for item in value]
    return value
