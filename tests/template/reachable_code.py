"""The code that a Lambda handler can reach, found by the names that each definition uses."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tools.template.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_PACKAGE = ROOT / "layers/common/python"
FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))


@dataclass(frozen=True)
class _Module:
    """What a file defines at its top level, and the file and name behind each import."""

    definitions: dict[str, ast.AST]
    imports: dict[str, tuple[Path, str]]


def find_reachable_code(function: str) -> list[ast.AST]:
    """Return the top-level definitions that running the function's handler can lead to."""
    seen: set[tuple[Path, str]] = set()
    pending = [(ROOT / "functions" / function / "app.py", "lambda_handler")]
    nodes = []
    while pending:
        path, name = pending.pop()
        if (path, name) in seen or not path.exists():
            continue
        seen.add((path, name))
        module = _parse_module(path)
        if name in module.imports:
            pending.append(module.imports[name])
        if name in module.definitions:
            node = module.definitions[name]
            nodes.append(node)
            pending += [(path, part.id) for part in ast.walk(node) if isinstance(part, ast.Name)]
    return nodes


@cache
def _parse_module(path: Path) -> _Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    definitions: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            definitions |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    imports = {
        alias.asname or alias.name: (_PACKAGE / (node.module.replace(".", "/") + ".py"), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("replicate_proxy.")
        for alias in node.names
    }
    return _Module(definitions, imports)
