"""Limits of AWS that neither cfn-lint nor the local AWS checks: with the longest name of a stack."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.template.physical_names import PhysicalNames
from tests.template.rules.api import get_definition
from tests.template.variants import VARIANTS
from tools.release.target import MAX_STACK_NAME_LENGTH
from tools.template.stack import load_stack, referenced_id

# IAM and AWS STS quotas: all inline policies of a role, and one managed policy; white space does not count
_MAX_INLINE_CHARACTERS = 10_240
_MAX_MANAGED_CHARACTERS = 6_144
# AWS Lambda quotas: all variables of a function as JSON. A gradual release adds `RELEASE`.
_MAX_ENVIRONMENT_BYTES = 4_096 - 60
# AWS Lambda quotas: the policy of a function, without the part around its statements
_MAX_FUNCTION_POLICY_BYTES = 20_480 - 60
_FUNCTION_ARN = "arn:aws:lambda:ap-southeast-1:111122223333:function:"
# API Gateway quotas, and what it puts in the place of `execute-api:/`
_MAX_API_POLICY_BYTES = 8_192
_EXECUTION_ARN = "arn:aws:execute-api:ap-southeast-1:111122223333:abcdefghij/"
_MAX_PARAMETER_CHARACTERS = 4_096  # CloudFormation quotas
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
def test_policies_of_each_function_fit(variant: str) -> None:
    """Each permission to invoke a function, and so each of its routes, is a statement of its policy."""
    stack = load_stack(NAME, **VARIANTS[variant])
    names = PhysicalNames(stack, NAME)
    sizes: Counter[str] = Counter()
    for permission in stack.of_type("Lambda::Permission"):
        source = permission.properties["SourceArn"]
        sizes[referenced_id(permission.properties["FunctionName"])] += measure(
            names,
            {
                "Sid": f"{NAME}-{permission.id}-ABCDEFGHIJKL",
                "Effect": "Allow",
                "Principal": {"Service": permission.properties["Principal"]},
                "Action": permission.properties["Action"],
                "Resource": f"{_FUNCTION_ARN}{NAME}-authorize:live",
                "Condition": {"ArnLike": {"AWS:SourceArn": source}},
            },
        )

    assert {function: size for function, size in sizes.items() if size > _MAX_FUNCTION_POLICY_BYTES} == {}
    assert max(sizes.values()) > _MAX_FUNCTION_POLICY_BYTES // 3


def test_resource_policy_of_the_api_fits_with_the_longest_list_of_ranges() -> None:
    cidrs = ",".join(["10.0.0.0/8"] * _MAX_PARAMETER_CHARACTERS)[:_MAX_PARAMETER_CHARACTERS]
    definition = get_definition(load_stack(NAME, AllowedCidrs=cidrs))
    policy = json.dumps(definition["x-amazon-apigateway-policy"], separators=(",", ":"))
    size = len(policy.replace("execute-api:/", _EXECUTION_ARN))

    assert _MAX_API_POLICY_BYTES // 2 < size <= _MAX_API_POLICY_BYTES


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
