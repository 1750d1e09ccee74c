"""A gradual release of the real template, as CloudFormation would see it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from cfn_flip import load_yaml

from tests.template.rules import ALL, hops
from tests.template.stack import TEMPLATE, Stack, source, target, transform
from tools.release.gradual import ALARMS, STRATEGIES, make_gradual, rewrite


@cache
def released(strategy: str = "Linear10PercentEvery1Minute", release: str = "abc") -> Stack:
    return Stack(transform(make_gradual(source(), strategy, release)), {})


def functions(stack: Stack) -> set[str]:
    return {function.id for function in stack.of("Lambda::Function")}


@pytest.mark.parametrize("strategy", STRATEGIES[::4])
def test_every_function_has_a_deployment_of_its_own_with_alarms_that_stop_it(strategy: str) -> None:
    stack = released(strategy)
    groups = stack.of("CodeDeploy::DeploymentGroup")

    assert len(groups) == len(functions(stack))
    for group in groups:
        watched = [target(alarm["Name"]) for alarm in group.properties["AlarmConfiguration"]["Alarms"]]
        assert group.properties["DeploymentConfigName"] == f"CodeDeployDefault.Lambda{strategy}"
        assert watched == list(ALARMS)
        assert set(ALARMS) <= set(stack.resources)


def test_all_that_calls_a_function_calls_the_version_that_traffic_is_on() -> None:
    stack = released()
    aliases = {alias.id for alias in stack.of("Lambda::Alias")}
    sources = [*stack.of("Lambda::EventSourceMapping"), *stack.of("Lambda::EventInvokeConfig")]
    called = [target(one.properties["FunctionName"]) for one in stack.of("Lambda::EventSourceMapping")]
    targets = [target(one["Arn"]) for rule in stack.of("Events::Rule") for one in rule.properties["Targets"]]
    integrated = {
        part
        for path in stack.resources["Api"].properties["Body"]["paths"].values()
        for method in path.values()
        for part in [str(method.get("x-amazon-apigateway-integration", {}).get("uri", ""))]
        if "Function" in part
    }

    assert sources
    assert set(called) <= aliases
    assert not functions(stack) & set(targets)
    assert integrated
    assert all("Function.Alias" in uri or any(alias in uri for alias in aliases) for uri in integrated)


def test_a_new_release_publishes_every_function_anew_even_where_no_code_changed() -> None:
    def versions(release: str) -> set[str]:
        return {version.id for version in released(release=release).of("Lambda::Version")}

    assert len(versions("abc")) == len(functions(released()))
    assert versions("abc") == versions("abc")
    assert not versions("abc") & versions("abd")


def test_the_rules_hold_for_it_too() -> None:
    """But for those that look for a function where there is an alias now, and CodeDeploy's own role."""
    by_name = {hops.queue_consumers, hops.asynchronous_invocations}
    stack = released()
    found = [line for rule in ALL if rule not in by_name for line in rule(stack)]
    assert [line for line in found if not line.startswith("CodeDeployServiceRole: ")] == []


def test_the_built_template_is_rewritten_in_place(tmp_path: Any) -> None:
    built = tmp_path / "template.yaml"
    built.write_text(TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")

    rewrite(built, "AllAtOnce", "abc")

    assert load_yaml(built.read_text(encoding="utf-8")) == make_gradual(source(), "AllAtOnce", "abc")
