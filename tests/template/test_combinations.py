"""Any two options work together. `make security` runs cfn-lint on the same combinations."""

from __future__ import annotations

import pytest

from tests.template.combinations import (
    COMBINATIONS,
    CONFLICTS,
    DEFAULTS,
    SWITCHES,
    Parameters,
    find_absent_pairs,
)
from tests.template.rules import RULES
from tests.template.variants import VARIANTS
from tools.local.parameters import parse_overrides
from tools.template.stack import Stack, iterate_parts, load_stack, referenced_id


def test_combinations_contain_every_accepted_pair_of_values() -> None:
    assert len(SWITCHES) > 15
    assert find_absent_pairs(COMBINATIONS) == []


@pytest.mark.parametrize("conflict", CONFLICTS, ids=" ".join)
def test_other_pairs_are_rejected(conflict: Parameters) -> None:
    assert load_stack(**conflict).broken_rules != []


@pytest.mark.parametrize("parameters", COMBINATIONS, ids=range(len(COMBINATIONS)))
def test_combination_is_accepted_and_keeps_every_rule(parameters: Parameters) -> None:
    stack = load_stack(**parameters)

    assert stack.broken_rules == []
    assert [line for rule in RULES for line in rule(stack)] == []
    assert find_dangling_references(stack) == []


@pytest.mark.parametrize("parameters", [DEFAULTS, *VARIANTS.values(), *COMBINATIONS])
def test_patterns_of_parameters_accept_what_works(parameters: Parameters) -> None:
    assert parse_overrides([f"{name}={value}" for name, value in parameters.items()]) == parameters


def find_dangling_references(stack: Stack) -> list[str]:
    absent = stack.declared_ids - set(stack.resources)
    return [
        f"{resource.id}{path} → {referenced_id(part)}"
        for resource in stack.resources.values()
        for path, part in iterate_parts(resource.properties)
        if referenced_id(part) in absent
    ]
