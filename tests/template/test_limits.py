"""Limits of AWS that neither cfn-lint nor the local AWS checks: with the longest name of a stack."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.template.physical_names import PhysicalNames
from tests.template.variants import VARIANTS
from tools.release.target import MAX_STACK_NAME_LENGTH
from tools.template.stack import load_stack

# IAM and AWS STS quotas: all inline policies of a role, and one managed policy; white space does not count
_MAX_INLINE_CHARACTERS = 10_240
_MAX_MANAGED_CHARACTERS = 6_144
# AWS Lambda quotas: all variables of a function as JSON. A gradual release adds `RELEASE`.
_MAX_ENVIRONMENT_BYTES = 4_096 - 60
# Functions that put messages into the queue from which they get them
_REQUEUEING_FUNCTIONS = {"DispatchFunction", "HarvestFunction", "DeliverFunction"}

NAME = "n" * MAX_STACK_NAME_LENGTH
variants = pytest.mark.parametrize("variant", ["default", "everything"])


def measure(names: PhysicalNames, value: Any) -> int:
    return len(json.dumps(names.expand(value), separators=(",", ":")).encode())


@variants
def test_policies_of_each_role_fit(variant: str) -> None:
    stack = load_stack(NAME, **VARIANTS[variant])
    names = PhysicalNames(stack, NAME)
    sizes = {
        role.id: sum(measure(names, policy["PolicyDocument"]) for policy in role.properties["Policies"])
        for role in stack.of_type("IAM::Role")
        if "Policies" in role.properties
    }

    assert {role: size for role, size in sizes.items() if size > _MAX_INLINE_CHARACTERS} == {}
    assert max(sizes.values()) > _MAX_INLINE_CHARACTERS // 2  # the measure works


@variants
def test_managed_policies_fit(variant: str) -> None:
    stack = load_stack(NAME, **VARIANTS[variant])
    names = PhysicalNames(stack, NAME)
    policies = stack.of_type("IAM::ManagedPolicy")
    sizes = {policy.id: measure(names, policy.properties["PolicyDocument"]) for policy in policies}

    assert {policy: size for policy, size in sizes.items() if size > _MAX_MANAGED_CHARACTERS} == {}
    assert sizes["OperatorPolicy"] > _MAX_MANAGED_CHARACTERS // 2


@variants
def test_environments_of_functions_fit(variant: str) -> None:
    stack = load_stack(NAME, **VARIANTS[variant])
    names = PhysicalNames(stack, NAME)
    sizes = {
        function.id: measure(names, function.properties["Environment"]["Variables"])
        for function in stack.of_type("Lambda::Function")
    }

    assert {function: size for function, size in sizes.items() if size > _MAX_ENVIRONMENT_BYTES} == {}
    assert max(sizes.values()) > _MAX_ENVIRONMENT_BYTES // 2


def test_functions_that_requeue_are_no_recursive_loop() -> None:
    """Lambda would stop them after about 16 times (Developer Guide, "Recursive loop detection")."""
    functions = load_stack().of_type("Lambda::Function")
    allowed = {function.id for function in functions if function.properties.get("RecursiveLoop") == "Allow"}

    assert allowed == _REQUEUEING_FUNCTIONS
