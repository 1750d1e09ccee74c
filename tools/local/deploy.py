"""`sam deploy` of the built template to the emulator, with three differences from a deployment to AWS.

- The template is adapted to the emulator (`tools.local.template`).
- The layer and the packages of functions are unpacked once, beside the stack. The emulator would unpack
  these thousands of files for each worker that it starts, which takes most of a cold start. The deployed
  layer is one file that points to the unpacked ones, so functions import exactly what was built.
- Properties that the emulator's CloudFormation ignores are set through the API afterwards.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from filelock import FileLock

from tools.local import build, emulator
from tools.local.configuration import build_settings
from tools.local.emulator import get_client
from tools.local.errors import LocalError
from tools.local.paths import LOCAL_FOLDER, StackFolder
from tools.local.processes import run_command
from tools.local.screen import Screen
from tools.local.template import Template, write_local_template

STACK_NAME = "replicate-proxy"

_CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND")
_FUNCTION_NAME = "AWS_LAMBDA_FUNCTION_NAME"
# Python executes the lines of a .pth file that begin with `import` (documentation of the module `site`).
_PATH_FILE = "python/lib/python3.13/site-packages/layer.pth"


def deploy_stack(
    folder: StackFolder,
    screen: Screen,
    *,
    endpoint_url: str,
    emulator_generation: str,
    parameters: Mapping[str, str],
    physical_ids: Mapping[str, str],
) -> None:
    """Build and deploy the stack, unless nothing changed since its last deployment.

    `physical_ids` are those of resources that were created before, by logical ID.
    """
    fingerprint = fingerprint_deployment(parameters, emulator_generation)
    last_fingerprint = read_fingerprint(folder)
    if last_fingerprint == fingerprint:
        return
    with tempfile.TemporaryDirectory(prefix="deploy-", dir=folder.path) as package:
        with FileLock(LOCAL_FOLDER / "build.lock"), screen.step("building: sam build") as finish:
            built = copy_build(build.build_template(), Path(package))
            settings = build_settings(
                faults_file=folder.faults_file, clock_offset_file=folder.clock_offset_file
            )
            layer = unpack_layer(folder, built, fingerprint)
            unpack_packages(built, layer)
            template_file = built.with_name("local-template.json")
            template = write_local_template(
                built, template_file, settings=settings, layer=layer, physical_ids=physical_ids
            )
            finish("built")
        with screen.step("deploying: sam deploy") as finish:
            _run_sam_deploy(folder, template_file, parameters, endpoint_url)
            _apply_ignored_properties(endpoint_url, template)
            finish("deployed")
    remove_other_layers(folder, last_fingerprint, fingerprint)
    record_fingerprint(folder, fingerprint)


def get_outputs(endpoint_url: str) -> dict[str, str]:
    """Return the stack's outputs by name."""
    stacks = get_client("cloudformation", endpoint_url).describe_stacks(StackName=STACK_NAME)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])}


def fingerprint_deployment(parameters: Mapping[str, str], emulator_generation: str) -> str:
    """Hash everything that a deployment depends on: sources, parameters, and the emulator that runs."""
    parts = [build.fingerprint_sources(), emulator_generation, *sorted(parameters.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_fingerprint(folder: StackFolder) -> str:
    """Return the fingerprint of the last deployment, or "" if there was none."""
    path = _get_fingerprint_file(folder)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def record_fingerprint(folder: StackFolder, fingerprint: str) -> None:
    _get_fingerprint_file(folder).write_text(fingerprint, encoding="utf-8")


def _get_fingerprint_file(folder: StackFolder) -> Path:
    return folder.path / "deployed"


def copy_build(built: Path, target: Path) -> Path:
    """Link the files of the build into the folder `target`, and return its built template.

    So others may build and deploy while these files are deployed: a build replaces files, and changes none.
    """
    shutil.copytree(built.parent, target, copy_function=os.link, dirs_exist_ok=True)
    return target / built.name


def unpack_layer(folder: StackFolder, built: Path, deployment: str) -> Path:
    """Unpack the layer that was built beside the template `built`; return the folder to deploy in its place.

    Each deployment has its own folder, since workers of the previous one still import from theirs.
    """
    layer_folder = folder.layers_folder / deployment
    shutil.rmtree(layer_folder, ignore_errors=True)
    unpacked, deployed = layer_folder / "unpacked", layer_folder / "deployed"
    shutil.copytree(built.parent / "CommonLayer/python", unpacked)
    path_file = deployed / _PATH_FILE
    path_file.parent.mkdir(parents=True)
    function = (
        f"os.path.join({str(_get_packages_folder(deployed))!r}, os.environ.get({_FUNCTION_NAME!r}, ''))"
    )
    path_file.write_text(f"import os, sys; sys.path[:0] = [{str(unpacked)!r}, {function}]\n", "utf-8")
    return deployed


def unpack_packages(built: Path, layer: Path) -> None:
    """Move the packages of the functions out of the copied build, to where the deployed layer points."""
    for source, function in build.list_function_folders(built.parent):
        packages = _get_packages_folder(layer) / f"{STACK_NAME}-{source.name}"
        # It has the byte code of the handler, and of packages that are one file.
        shutil.copytree(function / "__pycache__", packages / "__pycache__", copy_function=os.link)
        own = {path.name for path in source.iterdir()} | {"__pycache__"}
        for path in [path for path in function.iterdir() if path.name not in own]:
            path.rename(packages / path.name)


def _get_packages_folder(layer: Path) -> Path:
    """Return the folder with the packages of functions, each in a folder with the function's name."""
    return layer.with_name("packages")


def remove_other_layers(folder: StackFolder, *deployments: str) -> None:
    """Remove the layers of all but these deployments."""
    for layer_folder in folder.layers_folder.glob("*"):
        if layer_folder.name not in deployments:
            shutil.rmtree(layer_folder)


def _run_sam_deploy(
    folder: StackFolder, template: Path, parameters: Mapping[str, str], endpoint_url: str
) -> None:
    """Deploy the template. Raises `LocalError` with the reason for each resource that failed."""
    try:
        run_command(
            [
                build.SAM_BIN / "sam",
                *("deploy", "--template-file", template, "--config-file", _write_config(folder, parameters)),
                *("--stack-name", STACK_NAME, "--region", emulator.REGION),
                *("--resolve-s3", "--capabilities", *_CAPABILITIES),
                *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
            ],
            environment=emulator.build_tool_environment(endpoint_url),
            description="sam deploy",
        )
    except LocalError as error:
        raise LocalError("\n".join(_get_failure_reasons(endpoint_url)) or str(error)) from error


def _write_config(folder: StackFolder, parameters: Mapping[str, str]) -> Path:
    """Write the parameters to a file: SAM cannot parse quotes and commas in values on the command line."""
    rows = ",\n".join("  " + json.dumps(f"{key}={_quote(value)}") for key, value in parameters.items())
    text = f"version = 0.1\n[default.deploy.parameters]\nparameter_overrides = [\n{rows},\n]\n"
    path = folder.path / "samconfig.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _quote(value: str) -> str:
    """Return the value as SAM reads it: it knows no escape sequence of a line break, but line breaks."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _get_failure_reasons(endpoint_url: str) -> list[str]:
    """Read the reasons from the stack's events; the table that SAM prints of them is hard to read."""
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


def _apply_ignored_properties(endpoint_url: str, template: Template) -> None:
    """Set time to live and point-in-time recovery of tables."""
    physical_ids = _get_physical_ids(endpoint_url)
    for logical_id, resource in template["Resources"].items():
        properties = resource.get("Properties") or {}
        if logical_id not in physical_ids:
            continue
        if resource["Type"] == "AWS::DynamoDB::Table":
            _apply_to_table(get_client("dynamodb", endpoint_url), physical_ids[logical_id], properties)


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
