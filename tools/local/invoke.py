"""`make invoke`: run a function with a sample event in AWS's runtime image, by `sam local invoke`.

It needs Docker. SAM builds into `.aws-sam`, as for AWS.
"""

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

_DOCKER_HOST_NAME = "host.docker.internal"
"""The name of this machine, loopback included, in the containers of Docker Desktop."""

_UNREACHABLE_URL = "http://127.0.0.1:9"
"""Nothing listens there, so calls to AWS fail at once instead of after a timeout."""


def invoke_function(folder: StackFolder, screen: Screen, function: str, event: str) -> int:
    """Build and run the function, and return the exit code of SAM.

    Raises `LocalError` if function, event or Docker are missing.
    """
    if not (ROOT / "functions" / function / "app.py").exists():
        raise LocalError(f"no function {function} in functions/")
    event_file = _find_event_file(function, event)
    environment = _build_environment()
    docker_system = _get_docker_system(environment)
    with screen.step("building: sam build"):
        _run_sam(environment, "build", "--cached", "--parallel", capture_output=True)
    variables_file = _write_variables(folder, screen, function, docker_system)
    return _run_sam(
        environment,
        *("local", "invoke", _get_logical_id(function)),
        *("--template-file", _write_template()),
        *("--event", event_file),
        *("--env-vars", variables_file),
        *(["--skip-pull-image"] if os.environ.get("INVOKE_SKIP_PULL") else []),
    )


def _find_event_file(function: str, event: str) -> Path:
    path = ROOT / event
    if not path.is_file():
        events = sorted(str(found.relative_to(ROOT)) for found in (ROOT / "events" / function).glob("*.json"))
        raise LocalError(f"no event file {event}; the events of {function} are {', '.join(events) or 'none'}")
    return path


def _build_environment() -> dict[str, str]:
    environment = clean_environment()
    return environment | {
        "PATH": f"{build.SAM_BIN}:{environment.get('PATH', '')}",
        "AWS_DEFAULT_REGION": emulator.REGION,
        "AWS_ACCESS_KEY_ID": emulator.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": emulator.SECRET_KEY,
        "SAM_CLI_TELEMETRY": "0",
    }


def _get_docker_system(environment: dict[str, str]) -> str:
    """Return the name of the operating system that the Docker engine reports."""
    docker = shutil.which("docker")
    if docker is None:
        raise LocalError("`sam local invoke` needs Docker, which is not on the PATH; `make demo` needs none")
    command = [docker, "info", "--format", "{{.OperatingSystem}}"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LocalError(
            "`sam local invoke` needs a Docker engine, and none is running; `make demo` needs none"
        )
    return result.stdout.strip()


def _write_variables(folder: StackFolder, screen: Screen, function: str, docker_system: str) -> Path:
    """Write SAM's file of environment variables: those of the deployed function, if a stack is running."""
    variables: dict[str, str] = {"AWS_ENDPOINT_URL": _UNREACHABLE_URL}
    if folder.stack_file.exists():
        stack = Stack.load(folder)
        deployed_name = stack.function_names[function]
        configuration = stack.get_client("lambda").get_function_configuration(FunctionName=deployed_name)
        variables = configuration["Environment"]["Variables"] | variables
        if "Docker Desktop" in docker_system:
            variables["AWS_ENDPOINT_URL"] = stack.endpoint_url.replace("127.0.0.1", _DOCKER_HOST_NAME)
    variables["AWS_ENDPOINT_URL"] = os.environ.get("INVOKE_ENDPOINT_URL", variables["AWS_ENDPOINT_URL"])
    if variables["AWS_ENDPOINT_URL"] == _UNREACHABLE_URL:
        screen.print(
            "[yellow]Containers of this Docker engine cannot reach the local stack on loopback:"
            " the function runs as if AWS were unavailable. Set INVOKE_ENDPOINT_URL to another address.[/]"
        )
    folder.create()
    path = folder.path / f"invoke-{function}.json"
    path.write_text(json.dumps({_get_logical_id(function): variables}), encoding="utf-8")
    return path


def _write_template() -> Path:
    """Write the built template with the variable AWS_ENDPOINT_URL: SAM sets only those of the template."""
    built = ROOT / ".aws-sam/build/template.yaml"
    existing_variable = re.compile(r"^( +)POWERTOOLS_SERVICE_NAME: .*$", re.MULTILINE)
    text = existing_variable.sub(r"\g<0>\n\1AWS_ENDPOINT_URL: ''", built.read_text(encoding="utf-8"), count=1)
    path = built.with_name("invoke.yaml")
    path.write_text(text, encoding="utf-8")
    return path


def _run_sam(environment: dict[str, str], *arguments: str | Path, capture_output: bool = False) -> int:
    """Run SAM and return its exit code. With captured output, raise `LocalError` with it on failure."""
    architecture = ["--parameter-overrides", f"Architecture={build.get_host_architecture()}"]
    result = subprocess.run(
        [str(part) for part in [build.SAM_BIN / "sam", *arguments, *architecture]],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=capture_output,
        text=True,
        check=False,
    )
    if capture_output and result.returncode != 0:
        raise LocalError(f"sam {arguments[0]} failed:\n{result.stderr[-2000:]}")
    return result.returncode


def _get_logical_id(function: str) -> str:
    return f"{function.capitalize()}Function"
