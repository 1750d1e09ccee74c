"""A built template whose functions take over traffic step by step, back at once when an alarm rings.

This is a way of deploying, not of the service, so template.yaml knows nothing of it: published versions would
keep their settings when only a parameter changes. Here every release marks its functions, so every release
publishes versions with the settings of the day (AWS SAM Developer Guide, "Deploying serverless applications
gradually"; AutoPublishAlias).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cfn_flip import dump_yaml, load_yaml

if TYPE_CHECKING:
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
"""CodeDeploy's own (AWS CodeDeploy User Guide, "Predefined deployment configurations for Lambda")."""

ALARMS = ("ApiErrorsAlarm", "ApiFunctionErrorsAlarm", "WorkerFunctionErrorsAlarm", "OutputLostAlarm")
"""Any of them while traffic moves brings all of it back to the old version."""


def make_gradual(template: dict[str, Any], strategy: str, release: str) -> dict[str, Any]:
    """The same template, changed in place; `release` is in every function's environment as RELEASE."""
    function = template["Globals"]["Function"]
    function["Environment"]["Variables"]["RELEASE"] = release
    function["AutoPublishAlias"] = "live"
    function["DeploymentPreference"] = {"Type": strategy, "Alarms": [{"Ref": name} for name in ALARMS]}
    return template


def rewrite(built: Path, strategy: str, release: str) -> None:
    """Does that to the template that `sam build` left at `built`."""
    template = load_yaml(built.read_text(encoding="utf-8"))
    built.write_text(dump_yaml(make_gradual(template, strategy, release)), encoding="utf-8")
