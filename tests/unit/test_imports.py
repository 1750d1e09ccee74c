"""Which module may import which: the architecture, enforced."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "layers/common/python/replicate_proxy"
MODULES = sorted(PACKAGE.rglob("*.py"))
ADAPTERS = ("replicate_proxy.aws", "replicate_proxy.messaging", "replicate_proxy.aws.clients")
PURE = ("jobs", "contracts", "signing.py", "ids.py", "clock.py", "errors.py", "ports.py")
USES_REQUESTS = (
    "replicate_api",
    "net",
    "auth/tokens.py",
    "webhooks/sender.py",
    "bootstrap",
)


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module that the file names, and whether only type checkers follow."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or "", id(node) in for_types


def breaches(paths: list[Path], *forbidden: str, types_too: bool = False) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name, for_types in imports_of(path)
        if (types_too or not for_types)
        and any(name == word or name.startswith(word + ".") for word in forbidden)
    ]


def within(*places: str) -> list[Path]:
    return [path for path in MODULES if _lies_in(path, places)]


def outside(*places: str) -> list[Path]:
    return [path for path in MODULES if not _lies_in(path, places)]


def _lies_in(path: Path, places: tuple[str, ...]) -> bool:
    name = path.relative_to(PACKAGE).as_posix()
    return any(name == place or name.startswith(place + "/") for place in places)


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 100
    assert within(*PURE)


def test_pure_logic_knows_neither_aws_nor_http() -> None:
    paths = within(*PURE, "replicate_api/models.py", "replicate_api/errors.py", "outputs/references.py")
    assert breaches(paths, "boto3", "botocore", "requests", "aws_lambda_powertools", *ADAPTERS) == []


def test_services_know_ports_and_no_adapters() -> None:
    paths = within("services", "api", "webhooks")
    assert breaches(paths, "boto3", "botocore", "requests", "PIL", *ADAPTERS) == []


def test_only_one_module_makes_aws_clients() -> None:
    made = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in outside("aws/clients.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"boto3.client", "boto3.resource"}
    ]
    assert made == []


def test_only_the_composition_root_asks_for_aws_clients() -> None:
    # The first admin key is made by a program of its own, run once by an operator.
    others = outside("bootstrap", "aws.py", "auth/bootstrap_admin.py")
    assert breaches(others, "replicate_proxy.aws.clients") == []


def test_only_those_who_talk_http_import_requests() -> None:
    assert breaches(outside(*USES_REQUESTS), "requests", "urllib3") == []


def test_pillow_ships_with_harvest_only() -> None:
    assert breaches(outside("images"), "PIL") == []
    others = outside("images", "outputs", "bootstrap/harvest.py")
    options = "replicate_proxy.images.options"
    assert [each for each in breaches(others, "replicate_proxy.images") if not each.endswith(options)] == []


def test_images_import_nothing_from_outputs() -> None:
    assert breaches(within("images"), "replicate_proxy.outputs", types_too=True) == []


def test_nothing_imports_the_composition_root() -> None:
    assert breaches(outside("bootstrap"), "replicate_proxy.bootstrap", types_too=True) == []


def test_nothing_in_the_layer_imports_functions_or_tests() -> None:
    assert breaches(MODULES, "functions", "tests", "tools", types_too=True) == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "functions").glob("*/app.py")), ids=lambda path: path.parent.name
)
def test_a_handler_is_short_and_builds_nothing(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
    assert breaches([path], "boto3", "botocore", "requests", "PIL", *ADAPTERS) == []
