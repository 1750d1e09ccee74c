"""Every environment variable that a function's code requires is set by the template."""

from __future__ import annotations

import ast

import pytest

from tests.template.reachable_code import FUNCTIONS, find_reachable_code
from tests.template.stack import load_stack

_GETTERS = {"text", "integer", "number"}


def find_required_variables(function: str) -> set[str]:
    """Return the variables read without a default: `env.text("NAME")` and the other getters."""
    return {
        str(call.args[0].value)
        for node in find_reachable_code(function)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _GETTERS
        if len(call.args) == 1 and not call.keywords and isinstance(call.args[0], ast.Constant)
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_has_every_variable_that_its_code_requires(function: str) -> None:
    resource = load_stack().resources[f"{function.title()}Function"]

    assert find_required_variables(function) - set(resource.properties["Environment"]["Variables"]) == set()


def test_required_variables_are_found_in_the_code() -> None:
    expected = {"REPLICATE_PROXY_TABLE", "DISPATCH_QUEUE_URL", "REPLICATE_API_TOKEN"}

    assert expected <= find_required_variables("dispatch")


def test_template_and_code_have_the_same_functions() -> None:
    functions = load_stack().of_type("Lambda::Function")

    assert {function.id.removesuffix("Function").lower() for function in functions} == set(FUNCTIONS)
