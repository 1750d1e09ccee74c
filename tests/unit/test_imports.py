"""The architecture: which module may import which.

functions → bootstrap → {api, console} → services → {ports, jobs, contracts, errors}. Adapters of AWS are in
`aws`; only `bootstrap` names concrete adapters.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "layers/common/python/replicate_proxy"
MODULES = sorted(PACKAGE.rglob("*.py"))
HANDLERS = sorted((ROOT / "functions").glob("*/app.py"))
MAX_HANDLER_LINES = 60

AWS = ("boto3", "botocore", "replicate_proxy.aws")
PURE = (
    "jobs",
    "contracts",
    "clock.py",
    "errors.py",
    "ids.py",
    "ports.py",
    "settings.py",
    "signing.py",
    "outputs/references.py",
    "replicate_api/errors.py",
    "replicate_api/models.py",
)
# The circuit breaker and the rate limiter express their changes as updates of the control table.
CONTROL_TABLE_USERS = ("replicate_api/circuit_breaker_store.py", "replicate_api/rate_limit.py")
USES_AWS = ("aws", "bootstrap", "testing/fault_injection.py", *CONTROL_TABLE_USERS)
USES_REQUESTS = ("replicate_api", "net", "auth/tokens.py", "webhooks/sender.py", "bootstrap")


@cache
def find_imports(path: Path, *, types_too: bool = False) -> frozenset[str]:
    """Return the modules that the file imports; with `types_too`, also those for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    imports = set[str]()
    for node in ast.walk(tree):
        if id(node) in for_types and not types_too:
            continue
        if isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            imports.add(node.module or "")
    return frozenset(imports)


def find_violations(paths: list[Path], *forbidden: str, types_too: bool = False) -> list[str]:
    """Return the imports of forbidden modules or of anything in forbidden packages."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in sorted(find_imports(path, types_too=types_too))
        if any(name == module or name.startswith(module + ".") for module in forbidden)
    ]


def select_modules(*places: str) -> list[Path]:
    """Return the modules in the packages, or with the file names."""
    return [path for path in MODULES if _is_in(path, places)]


def select_others(*places: str) -> list[Path]:
    return [path for path in MODULES if not _is_in(path, places)]


def _is_in(path: Path, places: tuple[str, ...]) -> bool:
    name = path.relative_to(PACKAGE).as_posix()
    return any(name == place or name.startswith(place + "/") for place in places)


@pytest.mark.parametrize("place", [*PURE, *USES_AWS, *USES_REQUESTS])
def test_named_module_exists(place: str) -> None:
    assert select_modules(place)


def test_pure_modules_import_neither_aws_nor_http_nor_logging() -> None:
    paths = select_modules(*PURE)
    assert find_violations(paths, *AWS, "requests", "urllib3", "aws_lambda_powertools") == []


def test_only_adapters_and_bootstrap_import_aws() -> None:
    assert find_violations(select_others(*USES_AWS), *AWS) == []


def test_only_bootstrap_imports_aws_clients() -> None:
    assert find_violations(select_others("bootstrap"), "replicate_proxy.aws.clients") == []


def test_only_one_module_creates_aws_clients() -> None:
    violations = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in select_others("aws/clients.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"boto3.client", "boto3.resource"}
    ]
    assert violations == []


def test_only_api_console_and_bootstrap_import_api() -> None:
    assert find_violations(select_others("api", "bootstrap", "console"), "replicate_proxy.api") == []


def test_only_console_imports_templates() -> None:
    """Only its function has Jinja2; `aws` names the console's ports."""
    assert find_violations(select_others("console"), "jinja2", "markupsafe") == []
    others = select_others("console", "bootstrap/console.py", "aws/console_store.py")
    assert find_violations(others, "replicate_proxy.console") == []


def test_only_http_clients_import_requests() -> None:
    assert find_violations(select_others(*USES_REQUESTS), "requests", "urllib3") == []


def test_only_images_import_pillow() -> None:
    assert find_violations(select_others("images"), "PIL") == []


def test_only_harvest_imports_images() -> None:
    others = select_others("images", "outputs", "bootstrap/harvest.py")
    violations = find_violations(others, "replicate_proxy.images")
    assert [line for line in violations if not line.endswith("replicate_proxy.images.options")] == []


def test_images_do_not_import_outputs() -> None:
    assert find_violations(select_modules("images"), "replicate_proxy.outputs", types_too=True) == []


def test_only_functions_import_bootstrap() -> None:
    others = select_others("bootstrap")
    assert find_violations(others, "replicate_proxy.bootstrap", types_too=True) == []


def test_layer_does_not_import_functions_tests_or_tools() -> None:
    assert find_violations(MODULES, "functions", "tests", "tools", types_too=True) == []


@pytest.mark.parametrize("path", HANDLERS, ids=lambda path: path.parent.name)
def test_handler_is_short_and_imports_no_adapters(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_HANDLER_LINES
    assert find_violations([path], *AWS, "requests", "PIL") == []
