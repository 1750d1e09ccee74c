"""The template that `sam local invoke` gets: one function of a built template, tied to the local stack."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.local import emulator

type Template = dict[str, Any]

HANDLER_MODULE = "local_invoke"
"""The module in the code folder that is a copy of `container.py`."""

_ENDPOINT_VARIABLES = {
    # botocore prefers the address of a single service to AWS_ENDPOINT_URL; no function may have one.
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": emulator.REGION,
    "AWS_DEFAULT_REGION": emulator.REGION,
    "AWS_ACCESS_KEY_ID": emulator.ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": emulator.SECRET_KEY,
}
_KEPT_PROPERTIES = ("Runtime", "Layers")


def build_invoke_template(
    built: Template,
    logical_id: str,
    *,
    build_folder: Path,
    code_folder: Path,
    deployed: Mapping[str, Any],
    variables: Mapping[str, str],
    endpoint_url: str,
    architecture: str,
) -> Template:
    """Return a template with the function and its layers.

    `built` is what `sam build` wrote to `build_folder`. Values of the template can refer to parameters and
    resources, so limits are those of the `deployed` function (Lambda's GetFunctionConfiguration), and
    `variables` replace the template's. AWS is at `endpoint_url`, always.
    """
    defaults = built["Globals"]["Function"]
    function = built["Resources"][logical_id]["Properties"]
    properties = {name: value for name, value in {**defaults, **function}.items() if name in _KEPT_PROPERTIES}
    return {
        "AWSTemplateFormatVersion": built["AWSTemplateFormatVersion"],
        "Transform": built["Transform"],
        "Resources": {
            **{layer: _build_layer(built, layer, build_folder) for layer in _list_layers(properties)},
            logical_id: {
                "Type": "AWS::Serverless::Function",
                "Properties": {
                    **properties,
                    "Architectures": [architecture],
                    "Timeout": deployed["Timeout"],
                    "MemorySize": deployed["MemorySize"],
                    "CodeUri": str(code_folder),
                    "Handler": f"{HANDLER_MODULE}.lambda_handler",
                    "Environment": {
                        "Variables": direct_to_emulator(variables, endpoint_url),
                    },
                },
            },
        },
    }


def _list_layers(properties: Mapping[str, Any]) -> list[str]:
    return [layer["Ref"] for layer in properties.get("Layers", [])]


def _build_layer(built: Template, logical_id: str, build_folder: Path) -> dict[str, Any]:
    properties = built["Resources"][logical_id]["Properties"]
    return {
        "Type": "AWS::Serverless::LayerVersion",
        "Properties": {**properties, "ContentUri": str(build_folder / properties["ContentUri"])},
    }


def adapt_to_samples(variables: Mapping[str, str], clock_file: Path | None) -> dict[str, str]:
    """Return the variables of a deployed function with another clock, without faults and with one sweep.

    `clock_file` has the seconds that the clock is ahead; without it, it is the system's, as on AWS.
    """
    clock = {"clock_offset_file": str(clock_file) if clock_file else None}
    settings = json.loads(variables["LOCAL_SETTINGS"]) | clock
    del settings["faults_file"]
    return {
        **variables,
        "LOCAL_SETTINGS": json.dumps(settings),
        # The deployed sweep of a local stack goes on for most of a minute.
        "SWEEP_DURATION_SECONDS": "0",
    }


def direct_to_emulator(variables: Mapping[str, str], endpoint_url: str) -> dict[str, str]:
    """Return the variables with the address and the credentials of the emulated AWS, always."""
    others = {name: value for name, value in variables.items() if not name.startswith("AWS_ENDPOINT_URL")}
    return {**others, **_ENDPOINT_VARIABLES, "AWS_ENDPOINT_URL": endpoint_url}
