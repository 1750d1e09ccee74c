"""The declared settings, the code that reads them, the template that sets them, and their page agree."""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

import pytest

from replicate_proxy import settings
from replicate_proxy.config import Setting
from tests.template.reachable_code import FUNCTIONS, find_reachable_code
from tools.chaos.tuning import VARIABLES as CHAOS_VARIABLES
from tools.docs.settings import FOREIGN_VARIABLES, PAGE, render_page
from tools.template.stack import ROOT, load_stack

SETTINGS: dict[str, Setting[Any]] = {
    name: value for name, value in vars(settings).items() if isinstance(value, Setting)
}
OPTIONS = {"EnableVpc": "true", "EnableDax": "true"}


@cache
def find_settings_read_by(function: str) -> frozenset[str]:
    """Return the declared settings that the function's code can reach."""
    values = [
        node.value for node in find_reachable_code(function) if isinstance(node, ast.Assign | ast.AnnAssign)
    ]
    names = {ast.unparse(call.args[0]) for call in values if isinstance(call, ast.Call) and call.args}
    return frozenset(name for name in SETTINGS if repr(name) in names)


def load_variables(function: str) -> dict[str, Any]:
    """Return the function's variables in the template, without those of other programs."""
    resource = load_stack(**OPTIONS).resources[f"{function.title()}Function"]
    variables = resource.properties["Environment"]["Variables"]
    return {name: value for name, value in variables.items() if name not in FOREIGN_VARIABLES}


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_has_the_name_of_its_variable(name: str) -> None:
    assert SETTINGS[name].name == name


@pytest.mark.parametrize("function", FUNCTIONS)
def test_settings_list_the_functions_that_read_them(function: str) -> None:
    declared = {name for name, setting in SETTINGS.items() if function in setting.functions}

    assert declared == find_settings_read_by(function)


def test_setting_is_read_by_some_function() -> None:
    assert [name for name, setting in SETTINGS.items() if not setting.functions] == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_has_every_required_variable(function: str) -> None:
    required = {name for name in find_settings_read_by(function) if SETTINGS[name].required}

    assert required - load_variables(function).keys() == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_has_no_variable_that_its_code_does_not_read(function: str) -> None:
    assert load_variables(function).keys() - find_settings_read_by(function) == set()


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_is_set_by_the_template_unless_local_only(name: str) -> None:
    functions = [function for function in FUNCTIONS if name in load_variables(function)]

    assert bool(functions) != SETTINGS[name].local_only


def test_code_reads_no_undeclared_variable() -> None:
    undeclared = [
        f"{path.relative_to(ROOT)} reads {variable}"
        for path in [
            *(ROOT / "layers/common/python/replicate_proxy").rglob("*.py"),
            *(ROOT / "functions").rglob("*.py"),
        ]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (variable := find_variable_read_directly(node)) is not None and variable not in FOREIGN_VARIABLES
    ]

    assert undeclared == []


def find_variable_read_directly(node: ast.AST) -> str | None:
    """Return the variable of `os.environ["X"]`, `os.environ.get("X")` or `os.getenv("X")`."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
        return ast.unparse(node.slice).strip("'")
    if isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.environ.get", "os.getenv"}:
        return ast.unparse(node.args[0]).strip("'")
    return None


def test_chaos_runs_change_declared_settings_only() -> None:
    assert CHAOS_VARIABLES.keys() - SETTINGS.keys() == set()


def test_template_and_code_have_the_same_functions() -> None:
    functions = load_stack().of_type("Lambda::Function")

    assert {function.id.removesuffix("Function").lower() for function in functions} == set(FUNCTIONS)


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_page(), "run: .venv/bin/python -m tools.docs.settings"
