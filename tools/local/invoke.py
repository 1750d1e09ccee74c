"""`sam local invoke`: one function in AWS's own runtime image, with a sample event. Needs Docker."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from tools.local import build, emulator
from tools.local.errors import LocalError
from tools.local.paths import ROOT, StackFolder
from tools.local.processes import clean_environment
from tools.local.screen import Screen
from tools.local.stack import Stack

HOST = "host.docker.internal"
"""This machine as Docker Desktop's containers see it, loopback included."""

NOWHERE = "http://127.0.0.1:9"
"""Nothing listens there, so a function that cannot reach AWS learns it at once."""


def invoke_function(home: StackFolder, screen: Screen, function: str, event: str) -> int:
    """Builds into `.aws-sam`, as for AWS, and runs; SAM's exit code."""
    if not (ROOT / "functions" / function / "app.py").exists():
        raise LocalError(f"no function {function} below functions/")
    event_file = _event_file(function, event)
    surroundings = _surroundings()
    engine = _engine(surroundings)
    with screen.step("building: sam build"):
        _sam(surroundings, "build", "--cached", "--parallel", quiet=True)
    variables = _variables(home, screen, function, engine)
    pull = ["--skip-pull-image"] if os.environ.get("INVOKE_SKIP_PULL") else []
    options: list[str | Path] = [
        "--template-file",
        _template(),
        "--event",
        event_file,
        "--env-vars",
        variables,
    ]
    return _sam(surroundings, "local", "invoke", _logical_id(function), *options, *pull)


def _event_file(function: str, event: str) -> Path:
    path = ROOT / event
    if not path.is_file():
        known = sorted(str(found.relative_to(ROOT)) for found in (ROOT / "events" / function).glob("*.json"))
        raise LocalError(f"no event file {event}; for {function} there are {', '.join(known) or 'none'}")
    return path


def _surroundings() -> dict[str, str]:
    base = clean_environment()
    return base | {
        "PATH": f"{build.SAM_BIN}:{base.get('PATH', '')}",
        "AWS_DEFAULT_REGION": emulator.REGION,
        "AWS_ACCESS_KEY_ID": emulator.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": emulator.SECRET_KEY,
        "SAM_CLI_TELEMETRY": "0",
    }


def _engine(surroundings: dict[str, str]) -> str:
    """The operating system of the Docker engine; raises where none answers."""
    docker = shutil.which("docker")
    if docker is None:
        raise LocalError("`sam local invoke` needs Docker, and none is on the PATH; `make demo` needs none")
    command = [docker, "info", "--format", "{{.OperatingSystem}}"]
    answer = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise LocalError("`sam local invoke` needs a Docker engine, and none answers; `make demo` needs none")
    return answer.stdout.strip()


def _variables(home: StackFolder, screen: Screen, function: str, engine: str) -> Path:
    """SAM's file of environment variables: the deployed function's own, where a stack is up."""
    values: dict[str, str] = {"AWS_ENDPOINT_URL": NOWHERE}
    if home.stack_file.exists():
        stack = Stack.load(home)
        name = stack.function_names[function]
        configuration = stack.get_client("lambda").get_function_configuration(FunctionName=name)
        values = configuration["Environment"]["Variables"] | values
        if "Docker Desktop" in engine:
            values["AWS_ENDPOINT_URL"] = stack.endpoint_url.replace("127.0.0.1", HOST)
    values["AWS_ENDPOINT_URL"] = os.environ.get("INVOKE_ENDPOINT_URL", values["AWS_ENDPOINT_URL"])
    if values["AWS_ENDPOINT_URL"] == NOWHERE:
        screen.print(
            "[yellow]containers of this Docker engine cannot reach the local stack on loopback:"
            " the function runs as if AWS were down (INVOKE_ENDPOINT_URL names another way)[/]"
        )
    home.create()
    path = home.path / f"invoke-{function}.json"
    path.write_text(json.dumps({_logical_id(function): values}), encoding="utf-8")
    return path


def _template() -> Path:
    """The built template with AWS_ENDPOINT_URL among the variables: SAM sets none that a template lacks."""
    built = ROOT / ".aws-sam/build/template.yaml"
    known = re.compile(r"^( +)POWERTOOLS_SERVICE_NAME: .*$", re.MULTILINE)
    text = known.sub(r"\g<0>\n\1AWS_ENDPOINT_URL: ''", built.read_text(encoding="utf-8"), count=1)
    path = built.with_name("invoke.yaml")
    path.write_text(text, encoding="utf-8")
    return path


def _sam(surroundings: dict[str, str], *arguments: str | Path, quiet: bool = False) -> int:
    architecture = ["--parameter-overrides", f"Architecture={build.get_host_architecture()}"]
    command = [str(part) for part in [build.SAM_BIN / "sam", *arguments, *architecture]]
    result = subprocess.run(
        command,
        env=surroundings,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=quiet,
        text=True,
        check=False,
    )
    if quiet and result.returncode != 0:
        raise LocalError(f"sam {arguments[0]} failed:\n{result.stderr[-2000:]}")
    return result.returncode


def _logical_id(function: str) -> str:
    return f"{function.capitalize()}Function"
