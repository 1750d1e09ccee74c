"""Write the transformed templates as one, with defaults, every option on, and combinations, for scanners.

`python -m tests.template.dump FOLDER`

Permissions boundaries are left out: scanners take them for policies that allow something.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.template.combinations import COMBINATIONS
from tests.template.effective_permissions import find_boundaries
from tests.template.variants import load_variant
from tools.template.stack import load_stack

if TYPE_CHECKING:
    from tools.template.stack import Stack

_SCANNED_VARIANTS = ("default", "everything")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for variant in _SCANNED_VARIANTS:
        stack = load_variant(variant)
        template = build_template(stack)
        for boundary in find_boundaries(stack):
            del template["Resources"][boundary]
        _write(folder / f"{variant}.json", template)
    (folder / "combinations").mkdir(exist_ok=True)
    for number, parameters in enumerate(COMBINATIONS):
        _write(folder / "combinations" / f"{number}.json", build_template(load_stack(**parameters)))


def build_template(stack: Stack) -> dict[str, Any]:
    """Return one template without conditions, with the resources of nested stacks instead of these."""
    resources: dict[str, dict[str, Any]] = {
        resource.id: {**resource.declared, "Properties": resource.properties}
        for resource in stack.resources.values()
        if resource.type != "AWS::CloudFormation::Stack"
    }
    for resource in resources.values():
        resource.pop("Condition", None)
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


def _write(file: Path, template: dict[str, Any]) -> None:
    file.write_text(json.dumps(template, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
