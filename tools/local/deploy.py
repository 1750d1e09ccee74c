"""`sam deploy` of a built template to the emulator, only when something changed.

Unpack the layer of a local stack once, instead of for every worker.

The emulator unpacks a function's layer, two thousand files, for each worker that it starts, which takes most
of a cold start. So the built layer is unpacked beside the stack, and the deployed layer is one file that
points there. Functions import exactly what was built.

Set by API, after a deployment, the properties that the emulator's CloudFormation ignores.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from cfn_flip import load_yaml

from tools.local import build, emulator
from tools.local.emulator import get_client
from tools.local.errors import LocalError
from tools.local.paths import ROOT, StackFolder
from tools.local.processes import run_command

STACK_NAME = "replicate-proxy"
_CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND")


def fingerprint_deployment(parameters: Mapping[str, str], generation: str) -> str:
    """Hash everything that a deployment depends on: sources, parameters, and the emulator that runs."""
    parts = [build.fingerprint_sources(), generation, *sorted(parameters.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_fingerprint(home: StackFolder) -> str:
    """Return the fingerprint of the last deployment, or "" if there was none."""
    path = _get_fingerprint_file(home)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def record_fingerprint(home: StackFolder, fingerprint: str) -> None:
    _get_fingerprint_file(home).write_text(fingerprint, encoding="utf-8")


def deploy_template(
    home: StackFolder, template: Path, parameters: Mapping[str, str], endpoint_url: str
) -> None:
    """Raise `LocalError` with the reason for each resource that failed."""
    try:
        run_command(
            [
                build.SAM_BIN / "sam",
                *("deploy", "--template-file", template, "--config-file", _write_config(home, parameters)),
                *("--stack-name", STACK_NAME, "--region", emulator.REGION),
                *("--resolve-s3", "--capabilities", *_CAPABILITIES),
                *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
            ],
            environment=emulator.build_tool_environment(endpoint_url),
            description="sam deploy",
        )
    except LocalError as error:
        raise LocalError("\n".join(_get_failure_reasons(endpoint_url)) or str(error)) from error


def get_outputs(endpoint_url: str) -> dict[str, str]:
    """Return the stack's outputs by name."""
    stacks = get_client("cloudformation", endpoint_url).describe_stacks(StackName=STACK_NAME)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}


def _get_failure_reasons(endpoint_url: str) -> list[str]:
    """Read the stack's events; the table that SAM prints of them wraps beyond readability."""
    cloudformation = get_client("cloudformation", endpoint_url)
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


def _write_config(home: StackFolder, parameters: Mapping[str, str]) -> Path:
    """Write the parameters to a file, since no command line takes values with quotes and commas."""
    rows = ",\n".join("  " + json.dumps(f"{key}={json.dumps(value)}") for key, value in parameters.items())
    text = f"version = 0.1\n[default.deploy.parameters]\nparameter_overrides = [\n{rows},\n]\n"
    path = home.path / "samconfig.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _get_fingerprint_file(home: StackFolder) -> Path:
    return home.path / "deployed"


# Python executes the lines of a .pth file that begin with `import` (documentation of the module `site`).
_PATH_FILE = "python/lib/python3.13/site-packages/layer.pth"


def unpack_layer(home: StackFolder, built: Path, deployment: str) -> Path:
    """Unpack the layer beside the template `built` and return the folder to deploy in its place.

    Each deployment has a folder of its own, since workers of the one before still import from theirs.
    """
    folder = home.layers_folder / deployment
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(built.parent / "CommonLayer/python", folder / "unpacked")
    path_file = folder / "deployed" / _PATH_FILE
    path_file.parent.mkdir(parents=True)
    path_file.write_text(f"import sys; sys.path.insert(0, {str(folder / 'unpacked')!r})\n", "utf-8")
    return folder / "deployed"


def remove_other_layers(home: StackFolder, *deployments: str) -> None:
    """Remove the layers of all but these deployments."""
    for folder in home.layers_folder.glob("*"):
        if folder.name not in deployments:
            shutil.rmtree(folder)


def apply_ignored_properties(endpoint_url: str) -> None:
    """Set time to live and point-in-time recovery of tables, and reserved concurrency of functions."""
    template = load_yaml((ROOT / "template.yaml").read_text(encoding="utf-8"))
    physical_ids = _get_physical_ids(endpoint_url)
    for logical_id, resource in template["Resources"].items():
        properties = resource.get("Properties") or {}
        if logical_id not in physical_ids:
            continue
        if resource["Type"] == "AWS::DynamoDB::Table":
            _apply_to_table(get_client("dynamodb", endpoint_url), physical_ids[logical_id], properties)
        reserved = properties.get("ReservedConcurrentExecutions")
        if resource["Type"] == "AWS::Serverless::Function" and isinstance(reserved, int):
            get_client("lambda", endpoint_url).put_function_concurrency(
                FunctionName=physical_ids[logical_id], ReservedConcurrentExecutions=reserved
            )


def _apply_to_table(dynamodb: Any, table: str, properties: dict[str, Any]) -> None:
    ttl = properties.get("TimeToLiveSpecification")
    status = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]["TimeToLiveStatus"]
    if ttl and status != "ENABLED":
        dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=dict(ttl))
    if "PointInTimeRecoverySpecification" in properties:
        dynamodb.update_continuous_backups(
            TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )


def _get_physical_ids(endpoint_url: str) -> dict[str, str]:
    paginator = get_client("cloudformation", endpoint_url).get_paginator("list_stack_resources")
    return {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for page in paginator.paginate(StackName=STACK_NAME)
        for resource in page["StackResourceSummaries"]
        if resource.get("PhysicalResourceId")
    }
