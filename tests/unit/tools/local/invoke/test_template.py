import subprocess
from pathlib import Path
from typing import Any

import pytest
from cfn_flip import load_yaml

from tools.local import build
from tools.local.invoke.samples import MAIN_SAMPLES
from tools.local.invoke.template import HANDLER_MODULE, build_invoke_template
from tools.local.paths import ROOT

ENDPOINT = "http://127.0.0.1:4566"
# What `sam build` does to the text of a template: SAM's own parser, its fields for built code, its dump.
SAM_BUILD_PROGRAM = """
import sys
from samcli.yamlhelper import yaml_dump, yaml_parse
template = yaml_parse(open(sys.argv[1]).read())
for name, resource in template["Resources"].items():
    for field in ("CodeUri", "ContentUri"):
        if field in resource.get("Properties", {}):
            resource["Properties"][field] = name
sys.stdout.write(yaml_dump(template))
"""


@pytest.fixture(scope="module")
def built() -> Any:
    command = [str(build.SAM_BIN / "python"), "-c", SAM_BUILD_PROGRAM, str(ROOT / "template.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return load_yaml(result.stdout)


def build_function(built: Any, function: str, **variables: str) -> dict[str, Any]:
    template = build_invoke_template(
        built,
        f"{function.capitalize()}Function",
        build_folder=Path("/build"),
        code_folder=Path("/code"),
        deployed={"Timeout": 29, "MemorySize": 512},
        variables={"REPLICATE_PROXY_TABLE": "deployed-table", **variables},
        endpoint_url=ENDPOINT,
        architecture="arm64",
    )
    resources: dict[str, Any] = template["Resources"]
    assert set(resources) == {"CommonLayer", f"{function.capitalize()}Function"}
    assert resources["CommonLayer"]["Properties"]["ContentUri"] == "/build/CommonLayer"
    properties: dict[str, Any] = resources[f"{function.capitalize()}Function"]["Properties"]
    return properties


@pytest.mark.parametrize("function", MAIN_SAMPLES)
def test_function_calls_the_emulator_and_has_only_literal_values(built: Any, function: str) -> None:
    properties = build_function(built, function)

    variables = properties["Environment"]["Variables"]
    assert variables["AWS_ENDPOINT_URL"] == ENDPOINT
    assert variables["REPLICATE_PROXY_TABLE"] == "deployed-table"
    assert all(isinstance(value, str) for value in variables.values())
    assert properties["Handler"] == f"{HANDLER_MODULE}.lambda_handler"
    assert properties["CodeUri"] == "/code"
    assert properties["Runtime"] == "python3.13"
    assert properties["Architectures"] == ["arm64"]
    assert (properties["Timeout"], properties["MemorySize"]) == (29, 512)


def test_every_function_of_the_template_can_be_invoked(built: Any) -> None:
    functions = {
        name.removesuffix("Function").lower()
        for name, resource in built["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }

    assert set(MAIN_SAMPLES) == functions
    for function, sample in MAIN_SAMPLES.items():
        assert (ROOT / f"events/{function}/{sample}.json").is_file()


@pytest.mark.parametrize(
    "variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"]
)
def test_no_variable_leads_to_real_aws(built: Any, variable: str) -> None:
    variables = build_function(built, "query", **{variable: "https://s3.amazonaws.com"})["Environment"]

    assert "amazonaws" not in str(variables)


def test_credentials_are_those_of_the_emulator(built: Any) -> None:
    variables = build_function(built, "query", AWS_ACCESS_KEY_ID="AKIAREAL")["Environment"]["Variables"]

    assert variables["AWS_ACCESS_KEY_ID"] == variables["AWS_SECRET_ACCESS_KEY"] == "test"
