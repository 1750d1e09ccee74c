"""Write docs/settings.md: every environment variable of the functions, and what sets it.

.venv/bin/python -m tools.docs.settings
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfn_flip import load_yaml

from replicate_proxy import settings
from replicate_proxy.config import Setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ROOT = Path(__file__).parents[2]
PAGE = _ROOT / "docs/settings.md"

FOREIGN_VARIABLES = {
    "LOG_LEVEL": "Level of the log; parameter `LogLevel` (Powertools Logger)",
    "POWERTOOLS_SERVICE_NAME": "Name of the stack in logs, metrics and traces (Powertools)",
    "POWERTOOLS_METRICS_NAMESPACE": "CloudWatch namespace of the metrics (Powertools Metrics)",
    "LOCAL_SETTINGS": "JSON object with the switches of the local stack; ignored on AWS",
    "AWS_ENDPOINT_URL": "Endpoint of the emulator on the local stack (AWS SDK)",
    "AWS_LAMBDA_FUNCTION_NAME": "Name of the function (Lambda)",
    "LD_LIBRARY_PATH": "Where Python finds its libraries, passed on to the image workers (Lambda)",
    "_X_AMZN_TRACE_ID": "Trace of the invocation, and whether X-Ray samples it (Lambda)",
}
"""Variables that are read, but not by `settings[…]`: who reads or sets them is in parentheses."""

_INTRODUCTION = """\
# Settings

<!-- Made by `.venv/bin/python -m tools.docs.settings` from replicate_proxy/settings.py and template.yaml. -->

Functions read their settings from environment variables. Change them by a template parameter at
`sam deploy`, or in `template.yaml`; what is set by hand on a function is lost with the next
deployment. An empty variable counts as unset. Lists are separated by commas.

Parameters that set no variable are in [deploying](deploying.md#parameters).
"""


def render_page() -> str:
    template = load_yaml((_ROOT / "template.yaml").read_text(encoding="utf-8"))
    values = _find_values(template)
    parameters, fixed, resources, local = [], [], [], []
    for setting in _list_settings():
        functions = ", ".join(sorted(setting.functions))
        value = values.get(setting.name)
        references = dict.fromkeys(_find_references(value))
        sources = [name for name in references if name in template["Parameters"]]
        if setting.local_only:
            local.append((f"`{setting.name}`", _format_default(setting), setting.description, functions))
        elif sources:
            default = _format_value(template["Parameters"][sources[0]].get("Default", ""), setting.unit)
            names = ", ".join(f"`{name}`" for name in sources)
            parameters.append(
                (names, f"`{setting.name}`", _kind(setting), default, setting.description, functions)
            )
        elif not references:
            text = _format_default(setting) if value is None else _format_fixed(value, setting.unit)
            fixed.append((f"`{setting.name}`", _kind(setting), text, setting.description, functions))
        else:
            resources.append((f"`{setting.name}`", setting.description, functions))
    sections = [
        _INTRODUCTION,
        "## Template parameters\n",
        _table(("Parameter", "Variable", "Type", "Default", "Meaning", "Functions"), sorted(parameters)),
        "## Fixed in the template\n",
        _table(("Variable", "Type", "Value", "Meaning", "Functions"), sorted(fixed)),
        "## Resources of the stack\n",
        _table(("Variable", "Meaning", "Functions"), sorted(resources)),
        "## Local stack only\n",
        "Tests on the local stack shorten these times. On AWS the variables have no effect.\n",
        _table(("Variable", "Value on AWS", "Meaning", "Functions"), sorted(local)),
        "## Variables of Lambda, the AWS SDK and Powertools\n",
        _table(("Variable", "Meaning"), ((f"`{name}`", text) for name, text in FOREIGN_VARIABLES.items())),
    ]
    return "\n".join(sections)


def _list_settings() -> Iterator[Setting[Any]]:
    return (value for value in vars(settings).values() if isinstance(value, Setting))


def _find_values(template: dict[str, Any]) -> dict[str, Any]:
    """Return the value of each variable that a function of the template has, as it is written there."""
    functions = [
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    ]
    variables = [function.get("Environment", {}).get("Variables", {}) for function in functions]
    return {name: value for declared in variables for name, value in declared.items()}


def _find_references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for entry in value:
            yield from _find_references(entry)
    elif isinstance(value, dict):
        for function, argument in value.items():
            if function == "Ref" and argument != "AWS::NoValue":
                yield argument
            elif function == "Fn::GetAtt":
                yield argument[0] if isinstance(argument, list) else argument.split(".")[0]
            else:
                yield from _find_references(argument)


def _kind(setting: Setting[Any]) -> str:
    name = setting.parse.__name__.removeprefix("parse_")
    return {"integers": "list of integers", "numbers": "list of numbers"}.get(name, name)


def _format_default(setting: Setting[Any]) -> str:
    default = setting.default
    if isinstance(default, tuple):
        return _format_value(
            ",".join(f"{entry:g}" if isinstance(entry, float) else str(entry) for entry in default), ""
        )
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return _format_value(f"{default:g}" if isinstance(default, float) else default, setting.unit)


def _format_fixed(value: Any, unit: str) -> str:
    """Return a value without references to parameters or resources."""
    return _format_value(value["Fn::Sub"] if isinstance(value, dict) else value, unit)


def _format_value(value: Any, unit: str) -> str:
    if value == "":
        return "empty"
    return f"`{value}` {unit}".strip()


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(_ROOT)}\n")
