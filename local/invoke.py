"""`sam local invoke`: one function in AWS's own runtime image, with a sample event. Needs Docker."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from local import build, environment
from local.errors import LocalError
from local.home import ROOT, Home
from local.stack import Stack
from local.status import function_names

HOST = "host.docker.internal"
"""The machine as containers see it. Docker Desktop lets them reach its loopback; Linux's engine does not,
so there a function answers as it would with AWS out of reach, unless INVOKE_ENDPOINT_URL names a way."""


def invoke(home: Home, function: str, event: str) -> int:
    """Builds into `.aws-sam`, as for AWS, and runs; the exit code of SAM."""
    event_file = _event_file(event)
    if not (ROOT / "functions" / function / "app.py").exists():
        raise LocalError(f"no function {function} below functions/")
    surroundings = _docker_environment()
    _build(surroundings)
    variables = _variables(home, function)
    sam = [build.SAM / "sam", "local", "invoke", _logical_id(function), "--event", event_file]
    known = ["--env-vars", variables] if variables else []
    route = ["--add-host", f"{HOST}:host-gateway"] if sys.platform == "linux" else []
    command = [str(part) for part in [*sam, *known, *route, *_image_options(), *_architecture()]]
    result = subprocess.run(command, env=surroundings, cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    return result.returncode


def _event_file(event: str) -> Path:
    path = ROOT / event
    if not path.is_file():
        known = sorted(str(found.relative_to(ROOT)) for found in (ROOT / "events").glob("*/*.json"))
        raise LocalError(f"no event file {event}; there are {', '.join(known) or 'none'}")
    return path


def _docker_environment() -> dict[str, str]:
    """The environment for SAM; raises where no Docker engine answers."""
    surroundings = environment.clean() | {
        "PATH": f"{build.SAM}:{os.environ['PATH']}",
        "AWS_DEFAULT_REGION": environment.REGION,
        "AWS_ACCESS_KEY_ID": environment.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": environment.SECRET_KEY,
        "SAM_CLI_TELEMETRY": "0",
    }
    docker = shutil.which("docker")
    if docker is None:
        raise LocalError(
            "`sam local invoke` needs Docker, and there is none on the PATH; `make demo` needs none"
        )
    answer = subprocess.run([docker, "info"], env=surroundings, capture_output=True, check=False)
    if answer.returncode != 0:
        raise LocalError("`sam local invoke` needs a Docker engine, and none answers; `make demo` needs none")
    return surroundings


def _build(surroundings: dict[str, str]) -> None:
    command = [str(build.SAM / "sam"), "build", "--cached", "--parallel", *_architecture()]
    result = subprocess.run(command, env=surroundings, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LocalError(f"sam build failed:\n{result.stderr[-2000:]}")


def _variables(home: Home, function: str) -> Path | None:
    """The deployed function's own settings, where a stack is up, with the emulator's address added."""
    if not home.stack_file.exists():
        return None
    stack = Stack.load(home)
    name = function_names(stack)[function]
    configuration = stack.aws("lambda").get_function_configuration(FunctionName=name)
    reachable = stack.endpoint_url.replace("127.0.0.1", HOST)
    values = configuration.get("Environment", {}).get("Variables", {}) | {
        "AWS_ENDPOINT_URL": os.environ.get("INVOKE_ENDPOINT_URL", reachable)
    }
    path = home.directory / f"invoke-{function}.json"
    path.write_text(json.dumps({_logical_id(function): values}), encoding="utf-8")
    return path


def _architecture() -> list[str]:
    return ["--parameter-overrides", f"Architecture={build.architecture()}"]


def _image_options() -> list[str]:
    """INVOKE_SKIP_PULL=1 uses the image that is there, for machines without a way to a registry."""
    return ["--skip-pull-image"] if os.environ.get("INVOKE_SKIP_PULL") else []


def _logical_id(function: str) -> str:
    return f"{function.capitalize()}Function"
