"""A gradual release of the real template, as CloudFormation sees it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from cfn_flip import load_yaml

from tests.template.effective_permissions import get_function_permissions
from tests.template.rules import RULES, messaging
from tools.release.gradual import ROLLBACK_ALARMS, STRATEGIES, make_gradual, make_immediate, rewrite_template
from tools.template.stack import (
    MAIN,
    ROOT,
    Stack,
    Templates,
    build_function_arn,
    read_template,
    referenced_id,
    transform,
)

if TYPE_CHECKING:
    from pathlib import Path


def load_gradual_stack(strategy: str = "AllAtOnce", release: str = "abc", **parameters: str) -> Stack:
    templates = transform_gradual(strategy, release)
    return Stack(templates, {"EnableDetailedMonitoring": "true", **parameters})


@cache
def transform_gradual(strategy: str, release: str) -> Templates:
    """Return the templates, which are shared: do not change them."""
    return transform(make_gradual(read_template(), strategy, release))


def get_function_ids(stack: Stack) -> set[str]:
    return {function.id for function in stack.of_type("Lambda::Function")}


def test_release_is_rejected_without_the_alarms_that_roll_it_back() -> None:
    assert load_gradual_stack().broken_rules == []
    assert load_gradual_stack(EnableDetailedMonitoring="false").broken_rules == [
        "A gradual release needs EnableDetailedMonitoring=true"
    ]


@pytest.mark.parametrize("strategy", STRATEGIES[::4])
def test_every_function_has_a_deployment_group_with_the_rollback_alarms(strategy: str) -> None:
    stack = load_gradual_stack(strategy)
    groups = stack.of_type("CodeDeploy::DeploymentGroup")

    assert len(groups) == len(get_function_ids(stack))
    assert set(ROLLBACK_ALARMS) <= {alarm.id for alarm in stack.of_type("CloudWatch::Alarm")}
    for group in groups:
        alarms = group.properties["AlarmConfiguration"]["Alarms"]
        assert group.properties["DeploymentConfigName"] == f"CodeDeployDefault.Lambda{strategy}"
        assert [referenced_id(alarm["Name"]) for alarm in alarms] == list(ROLLBACK_ALARMS)


@pytest.mark.parametrize("has_details", [True, False])
def test_rollback_moves_the_same_aliases_without_alarms(has_details: bool) -> None:
    """CodeDeploy stops a deployment while one of its alarms is on."""
    templates = transform(make_immediate(read_template(), "abc"))
    stack = Stack(templates, {"EnableDetailedMonitoring": str(has_details).lower()})

    assert stack.broken_rules == []
    assert not stack.of_type("CodeDeploy::DeploymentGroup")
    for type_ in ("Lambda::Alias", "Lambda::Version"):
        ids = {resource.id for resource in stack.of_type(type_)}
        assert ids == {resource.id for resource in load_gradual_stack().of_type(type_)}
    for alias in stack.of_type("Lambda::Alias"):
        assert "UpdatePolicy" not in stack.template["Resources"][alias.id]


def test_everything_that_invokes_a_function_invokes_its_alias() -> None:
    stack = load_gradual_stack()
    aliases = {alias.id for alias in stack.of_type("Lambda::Alias")}
    invoked_by_sources = [
        referenced_id(mapping.properties["FunctionName"])
        for mapping in stack.of_type("Lambda::EventSourceMapping")
    ]
    invoked_by_rules = [
        referenced_id(target["Arn"])
        for rule in stack.of_type("Events::Rule")
        for target in rule.properties["Targets"]
    ]
    integrations = {
        uri
        for path in stack.resources["Api"].properties["Body"]["paths"].values()
        for method in path.values()
        for uri in [str(method.get("x-amazon-apigateway-integration", {}).get("uri", ""))]
        if "Function" in uri
    }

    assert invoked_by_sources
    assert set(invoked_by_sources) <= aliases
    assert not get_function_ids(stack) & set(invoked_by_rules)
    assert integrations
    assert all("Function.Alias" in uri or any(alias in uri for alias in aliases) for uri in integrations)


def test_functions_that_others_invoke_by_name_are_invoked_by_their_alias() -> None:
    """Only the alias moves gradually, and has the template's settings of asynchronous invocation."""
    stack = load_gradual_stack()
    names = {function.properties["FunctionName"] for function in stack.of_type("Lambda::Function")}
    invoked = set()
    for function in stack.of_type("Lambda::Function"):
        permissions = get_function_permissions(stack, function)
        for value in map(str, function.properties["Environment"]["Variables"].values()):
            name, _, alias = value.partition(":")
            if name in names:
                invoked.add((name, alias))
                assert ("lambda:InvokeFunction", f"{build_function_arn(name)}:*") in permissions
    prefix = stack.resources["AdminFunction"].properties["FunctionName"].removesuffix("admin")

    assert invoked == {(f"{prefix}admin", "live"), (f"{prefix}batch", "live")}


def test_published_versions_have_snapshots_where_these_are_enabled() -> None:
    for value, expected in (("true", "PublishedVersions"), ("false", "None")):
        stack = load_gradual_stack(EnableSnapStart=value)
        functions = {function.id: function.properties for function in stack.of_type("Lambda::Function")}
        # Lambda Developer Guide, "Improving startup performance with Lambda SnapStart": no more than 512 MB.
        large = {name for name, properties in functions.items() if "EphemeralStorage" in properties}
        snapshots = {name: properties["SnapStart"]["ApplyOn"] for name, properties in functions.items()}

        assert large == {"HarvestFunction"}
        assert snapshots.pop("HarvestFunction") == "None"
        # API Gateway calls it by its name, so a snapshot of its version would cost and never start.
        assert snapshots.pop("AuthorizeFunction") == "None"
        assert set(snapshots.values()) == {expected}


def test_new_release_publishes_every_function_even_where_no_code_changed() -> None:
    def get_versions(release: str) -> set[str]:
        return {version.id for version in load_gradual_stack(release=release).of_type("Lambda::Version")}

    assert len(get_versions("abc")) == len(get_function_ids(load_gradual_stack()))
    assert not get_versions("abc") & get_versions("abd")


def test_gradual_template_keeps_the_rules() -> None:
    """Except those that expect a function where there is an alias now, and CodeDeploy's own role."""
    excepted = {messaging.check_queue_consumers, messaging.check_asynchronous_invocations}
    stack = load_gradual_stack()
    violations = [line for rule in RULES if rule not in excepted for line in rule(stack)]

    assert [line for line in violations if not line.startswith("CodeDeployServiceRole: ")] == []


def test_built_template_is_rewritten_in_place(tmp_path: Path) -> None:
    built = tmp_path / "template.yaml"
    built.write_text((ROOT / MAIN).read_text(encoding="utf-8"), encoding="utf-8")

    rewrite_template(built, "AllAtOnce", "abc")

    assert load_yaml(built.read_text(encoding="utf-8")) == make_gradual(read_template(), "AllAtOnce", "abc")


def test_built_template_is_rewritten_for_a_rollback(tmp_path: Path) -> None:
    built = tmp_path / "template.yaml"
    built.write_text((ROOT / MAIN).read_text(encoding="utf-8"), encoding="utf-8")

    rewrite_template(built, None, "abc")

    assert load_yaml(built.read_text(encoding="utf-8")) == make_immediate(read_template(), "abc")
