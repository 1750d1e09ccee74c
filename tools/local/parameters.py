"""Template parameters from the command line, checked as CloudFormation would check them."""

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from cfn_flip import load_yaml

from tools.local.errors import LocalError
from tools.local.paths import ROOT


def parse_overrides(pairs: Sequence[str]) -> dict[str, str]:
    """Parse texts of the form `Key=Value`.

    Raises `LocalError` for another form, for a parameter that the template does not have, and for a value
    that it does not allow.
    """
    if not pairs:
        return {}
    parameters = _load_parameters()
    overrides = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise LocalError(f"not a parameter: {pair}; the form is Key=Value, for example ImageFormat=avif")
        if name not in parameters:
            similar = difflib.get_close_matches(name, parameters, n=1, cutoff=0.6)
            hint = f"; did you mean {similar[0]}?" if similar else ""
            raise LocalError(f"template.yaml has no parameter {name}{hint} (docs/deploying.md lists all)")
        if problem := _find_problem(parameters[name], value):
            raise LocalError(f"parameter {name}: {value!r} {problem}")
        overrides[name] = value
    return overrides


@cache
def _load_parameters() -> dict[str, Any]:
    parameters: dict[str, Any] = load_yaml((ROOT / "template.yaml").read_text(encoding="utf-8"))["Parameters"]
    return parameters


def _find_problem(parameter: Mapping[str, Any], value: str) -> str | None:
    """Return why the parameter does not allow the value, or None (CloudFormation, "Parameters")."""
    allowed = [str(allowed) for allowed in parameter.get("AllowedValues", ())]
    if allowed and value not in allowed:
        return f"is not one of {', '.join(allowed)}"
    pattern = parameter.get("AllowedPattern")
    if pattern is not None and re.fullmatch(pattern, value) is None:
        return f"does not match {pattern}"
    if parameter["Type"] == "Number":
        return _find_number_problem(parameter, value)
    return None


def _find_number_problem(parameter: Mapping[str, Any], value: str) -> str | None:
    try:
        number = float(value)
    except ValueError:
        return "is not a number"
    minimum, maximum = parameter.get("MinValue"), parameter.get("MaxValue")
    if minimum is not None and number < float(minimum):
        return f"is less than {minimum}"
    if maximum is not None and number > float(maximum):
        return f"is more than {maximum}"
    return None
