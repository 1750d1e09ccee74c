"""`sam deploy` of a built template to the emulator, only when something changed."""

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
_CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND")


def fingerprint_deployment(parameters: Mapping[str, str], generation: str) -> str:
    """Hash everything that a deployment depends on: sources, parameters, and the emulator that runs."""
    parts = [build.fingerprint_sources(), generation, *sorted(parameters.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_fingerprint(home: Home) -> str:
    """Return the fingerprint of the last deployment, or "" if there was none."""
    path = _get_fingerprint_file(home)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def record_fingerprint(home: Home, fingerprint: str) -> None:
    _get_fingerprint_file(home).write_text(fingerprint, encoding="utf-8")


def deploy(home: Home, template: Path, parameters: Mapping[str, str], endpoint_url: str) -> None:
    """Raise `LocalError` with the reason for each resource that failed."""
    try:
        run(
            [
                build.SAM / "sam",
                *("deploy", "--template-file", template, "--config-file", _write_config(home, parameters)),
                *("--stack-name", STACK_NAME, "--region", environment.REGION),
                *("--resolve-s3", "--capabilities", *_CAPABILITIES),
                *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
            ],
            environment=environment.with_credentials(endpoint_url),
            what="sam deploy",
        )
    except LocalError as error:
        raise LocalError("\n".join(_get_failure_reasons(endpoint_url)) or str(error)) from error


def get_outputs(endpoint_url: str) -> dict[str, str]:
    """Return the stack's outputs by name."""
    stacks = client("cloudformation", endpoint_url).describe_stacks(StackName=STACK_NAME)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}


def _get_failure_reasons(endpoint_url: str) -> list[str]:
    """Read the stack's events; the table that SAM prints of them wraps beyond readability."""
    cloudformation = client("cloudformation", endpoint_url)
    try:
        events = cloudformation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
    except ClientError:
        return []  # The deployment failed before the stack existed.
    reasons = (
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'failed')}"
        for event in events
        if event["ResourceStatus"].endswith("FAILED")
    )
    return list(dict.fromkeys(reasons))


def _write_config(home: Home, parameters: Mapping[str, str]) -> Path:
    """Write the parameters to a file, since no command line takes values with quotes and commas."""
    rows = ",\n".join("  " + json.dumps(f"{key}={json.dumps(value)}") for key, value in parameters.items())
    text = f"version = 0.1\n[default.deploy.parameters]\nparameter_overrides = [\n{rows},\n]\n"
    path = home.directory / "samconfig.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _get_fingerprint_file(home: Home) -> Path:
    return home.directory / "deployed"
