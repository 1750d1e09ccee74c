"""`sam deploy` of the built template to the emulator, only where something changed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from botocore.exceptions import ClientError

from tools.local import build, environment
from tools.local.errors import LocalError
from tools.local.home import Home
from tools.local.programs import run
from tools.local.stack import client

STACK_NAME = "replicate-proxy"
CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")


def deployed(home: Home) -> str:
    """The fingerprint of what was deployed last; empty before the first time."""
    return _record(home).read_text(encoding="utf-8") if _record(home).exists() else ""


def fingerprint(parameters: Mapping[str, str], generation: str) -> str:
    """Of everything that a deployment depends on: sources, parameters, and the emulator that holds it."""
    parts = [build.fingerprint(), generation, *sorted(parameters.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def deploy(home: Home, template: Path, parameters: Mapping[str, str], endpoint_url: str) -> None:
    """Raises `LocalError` with the reason of each resource that could not be made."""
    try:
        run(
            [
                build.SAM / "sam",
                *("deploy", "--template-file", template, "--config-file", _config(home, parameters)),
                *("--stack-name", STACK_NAME, "--region", environment.REGION),
                *("--resolve-s3", "--capabilities", *CAPABILITIES),
                *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
            ],
            environment=environment.with_credentials(endpoint_url),
            what="sam deploy",
        )
    except LocalError as error:
        raise LocalError("\n".join(_reasons(endpoint_url)) or str(error)) from error


def _reasons(endpoint_url: str) -> list[str]:
    """Why the last deployment failed, by the stack's events; SAM's own table wraps that beyond reading."""
    cloudformation = client("cloudformation", endpoint_url)
    try:
        events = cloudformation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
    except ClientError:
        return []  # It failed before there was a stack.
    failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
    told = (
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'failed')}" for event in failed
    )
    return list(dict.fromkeys(told))


def remember(home: Home, fingerprint: str) -> None:
    _record(home).write_text(fingerprint, encoding="utf-8")


def outputs(endpoint_url: str) -> dict[str, str]:
    """The stack's outputs by name."""
    stacks = client("cloudformation", endpoint_url).describe_stacks(StackName=STACK_NAME)["Stacks"]
    return {row["OutputKey"]: row["OutputValue"] for row in stacks[0].get("Outputs", [])}


def _config(home: Home, parameters: Mapping[str, str]) -> Path:
    """Parameters go by file: their values hold quotes and commas that no command line takes."""
    rows = ",\n".join("  " + json.dumps(f"{key}={json.dumps(value)}") for key, value in parameters.items())
    text = f"version = 0.1\n[default.deploy.parameters]\nparameter_overrides = [\n{rows},\n]\n"
    path = home.directory / "samconfig.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _record(home: Home) -> Path:
    return home.directory / "deployed"
