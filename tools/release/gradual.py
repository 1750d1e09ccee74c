"""Make a built template deploy gradually: traffic moves step by step, and back when an alarm fires.

How to deploy is not a property of the service, so template.yaml has no aliases: behind an alias, a published
version would keep its settings when only the value of a parameter changes. Here every release marks all
functions, so it publishes a version of each with the current settings (AWS SAM Developer Guide, "Deploying
serverless applications gradually"; `AutoPublishAlias`). No two releases have the same mark, not even of the
same commit: Lambda publishes no version of a function that has not changed since the last one, which stays
when CloudFormation rolls its release back, and CloudFormation takes that for an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cfn_flip import dump_yaml, load_yaml

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


STRATEGIES = (
    "AllAtOnce",
    "Canary10Percent5Minutes",
    "Canary10Percent10Minutes",
    "Canary10Percent15Minutes",
    "Canary10Percent30Minutes",
    "Linear10PercentEvery1Minute",
    "Linear10PercentEvery2Minutes",
    "Linear10PercentEvery3Minutes",
    "Linear10PercentEvery10Minutes",
)
"""AWS CodeDeploy User Guide, "Predefined deployment configurations for an AWS Lambda compute platform"."""

_ALIAS = "live"

ROLLBACK_ALARMS = ("ApiErrorsAlarm", "WorkerFunctionErrorsAlarm", "OutputLostAlarm")
"""Alarms of infrastructure/monitoring.yaml. One that fires while traffic moves rolls the release back."""


def make_gradual(template: dict[str, Any], strategy: str, release: str) -> dict[str, Any]:
    """Change the template in place and return it; `release` goes to every function as RELEASE, its mark.

    The alarms are outputs of the nested stack, so CloudFormation updates them before it moves any traffic.
    A stack without EnableDetailedMonitoring lacks one: a rule has CloudFormation reject its gradual release.
    """
    _publish_aliases(template, release)
    template["Globals"]["Function"]["DeploymentPreference"] = {
        "Type": strategy,
        "Alarms": [{"Fn::GetAtt": ["MonitoringStack", f"Outputs.{name}Name"]} for name in ROLLBACK_ALARMS],
    }
    template["Rules"]["GradualReleaseNeedsAlarms"] = {
        "Assertions": [
            {
                "Assert": {"Fn::Equals": [{"Ref": "EnableDetailedMonitoring"}, "true"]},
                "AssertDescription": "A gradual release needs EnableDetailedMonitoring=true",
            }
        ]
    }
    return template


def make_immediate(template: dict[str, Any], release: str) -> dict[str, Any]:
    """Change the template in place and return it: all aliases move at once, whatever the alarms say.

    CodeDeploy stops a deployment as long as one of its alarms is on, which those of the release that is to be
    rolled back usually are. Without their `Alarms`, deployment groups would keep them.
    """
    _publish_aliases(template, release)
    template["Globals"]["Function"]["DeploymentPreference"] = {"Enabled": False}
    return template


def _publish_aliases(template: dict[str, Any], release: str) -> None:
    function = template["Globals"]["Function"]
    function["Environment"]["Variables"]["RELEASE"] = release
    function["AutoPublishAlias"] = _ALIAS
    _invoke_aliases(template)


def _invoke_aliases(template: dict[str, Any]) -> None:
    """Have variables that name a function name its alias.

    The function itself runs the new code at once, and without the settings of asynchronous invocation: they
    belong to the alias (AWS::Lambda::EventInvokeConfig, `Qualifier`).
    """
    functions = [
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    ]
    names = [function["FunctionName"]["Fn::Sub"] for function in functions]
    for function in functions:
        if "Environment" in function:
            variables = function["Environment"]["Variables"]
            function["Environment"]["Variables"] = _add_alias(variables, names)


def _add_alias(value: Any, names: Collection[str]) -> Any:
    if isinstance(value, list):
        return [_add_alias(element, names) for element in value]
    if not isinstance(value, dict):
        return value
    if value.get("Fn::Sub") in names:
        return {"Fn::Sub": f"{value['Fn::Sub']}:{_ALIAS}"}
    return {key: _add_alias(element, names) for key, element in value.items()}


def rewrite_template(built: Path, strategy: str | None, release: str) -> None:
    """Rewrite the template that `sam build` left at `built`; without a strategy, aliases move at once."""
    template = load_yaml(built.read_text(encoding="utf-8"))
    changed = make_gradual(template, strategy, release) if strategy else make_immediate(template, release)
    built.write_text(dump_yaml(changed), encoding="utf-8")
