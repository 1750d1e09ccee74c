"""The templates keep every rule: by default, with every option on, polling, and on the local stack."""

from __future__ import annotations

import pytest

from tests.template.rules import RULES, Rule
from tests.template.variants import VARIANTS, load_variant


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_template_keeps_rule(rule: Rule, variant: str) -> None:
    assert rule(load_variant(variant)) == []
