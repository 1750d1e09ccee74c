"""`local/lab`: a model whose input says what happens in the run and what it returns."""

from typing import Any

from tools.simulator.media.spec import parse_output_file
from tools.simulator.models.model import JsonSchema, RunContext, RunScript, RunStep

_SECONDS_SCHEMA: JsonSchema = {"type": "number", "minimum": 0}

INPUTS: dict[str, JsonSchema] = {
    "output": {"description": "any JSON; an object with `$file` becomes a file"},
    "partial": {"type": "array", "description": "outputs shown one after the other during the run"},
    "logs": {"type": "string", "description": "written line by line during the run"},
    "status": {"type": "string", "enum": ["succeeded", "failed"]},
    "error": {"type": "string"},
    "startup": {**_SECONDS_SCHEMA, "description": "seconds in `starting`"},
    "latency": {**_SECONDS_SCHEMA, "description": "seconds in `processing`"},
    "hold": {"type": "boolean", "description": "wait for /_control/predictions/{id}/complete"},
    "metrics": {"type": "object"},
}


def run_lab(context: RunContext) -> RunScript:
    """Return the script that the input describes. Raises TypeError or ValueError for a wrong file."""
    lines = str(context.get("logs", "")).splitlines(keepends=True)
    partial = list(context.get("partial", []))
    steps = [RunStep(at=n / (len(lines) + 1), logs=line) for n, line in enumerate(lines, 1)]
    steps += [
        RunStep(at=n / (len(partial) + 1), output=replace_file_descriptions(output))
        for n, output in enumerate(partial, 1)
    ]
    return RunScript(
        output=replace_file_descriptions(context.get("output", None)),
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        status=context.get("status", "succeeded"),
        error=context.get("error", None),
        startup_seconds=context.get("startup", None),
        latency_seconds=context.get("latency", None),
        hold=context.get("hold", False),
        metrics=context.get("metrics", {}),
    )


def replace_file_descriptions(value: Any) -> Any:
    """Return the JSON with every `{"$file": …}` object replaced by the OutputFile it describes."""
    if isinstance(value, dict):
        if "$file" in value:
            return parse_output_file(value)
        return {key: replace_file_descriptions(item) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_file_descriptions(item) for item in value]
    return value
