"""Every environment variable that a function's code demands is given to it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.template.stack import load

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "layers/common/python"
_GETTERS = {"text", "integer", "number"}
FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))


@dataclass(frozen=True)
class Module:
    """What a file defines at its top level, and where the names that it imports come from."""

    definitions: dict[str, ast.AST]
    imports: dict[str, tuple[Path, str]]


@cache
def read(path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    definitions: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            definitions |= {one.id: node for one in targets if isinstance(one, ast.Name)}
    imports = {
        alias.asname or alias.name: (PACKAGE / (node.module.replace(".", "/") + ".py"), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("replicate_proxy.")
        for alias in node.names
    }
    return Module(definitions, imports)


def reachable(path: Path, name: str) -> list[ast.AST]:
    """The definitions that running `name` can lead to, by the names that each uses."""
    seen: set[tuple[Path, str]] = set()
    waiting = [(path, name)]
    nodes = []
    while waiting:
        where, what = waiting.pop()
        if (where, what) in seen or not where.exists():
            continue
        seen.add((where, what))
        module = read(where)
        if what in module.imports:
            waiting.append(module.imports[what])
        if what in module.definitions:
            node = module.definitions[what]
            nodes.append(node)
            waiting += [(where, part.id) for part in ast.walk(node) if isinstance(part, ast.Name)]
    return nodes


def demanded(function: str) -> set[str]:
    """Variables read without a default: `env.text("NAME")` and its like."""
    return {
        str(call.args[0].value)
        for node in reachable(ROOT / "functions" / function / "app.py", "lambda_handler")
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _GETTERS
        if len(call.args) == 1 and not call.keywords and isinstance(call.args[0], ast.Constant)
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_the_code_demands_is_given(function: str) -> None:
    given = load().resources[f"{function.title()}Function"].properties["Environment"]["Variables"]

    assert demanded(function) - set(given) == set()


def test_demands_are_found() -> None:
    assert {"REPLICATE_PROXY_TABLE", "DISPATCH_QUEUE_URL", "REPLICATE_API_TOKEN"} <= demanded("dispatch")


def test_every_function_of_the_template_has_code() -> None:
    declared = {resource.id.removesuffix("Function").lower() for resource in load().of("Lambda::Function")}
    assert declared == set(FUNCTIONS)
