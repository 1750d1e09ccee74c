"""Write the transformed templates as one, with defaults and with every option on, for scanners.

`python -m tests.template.dump FOLDER`

Permissions boundaries are left out: scanners take them for policies that allow something.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.template.effective_permissions import find_boundaries
from tests.template.variants import load_variant

_SCANNED_VARIANTS = ("default", "everything")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for variant in _SCANNED_VARIANTS:
        stack = load_variant(variant)
        boundaries = find_boundaries(stack)
        resources = {
            resource.id: {**resource.declared, "Properties": resource.properties}
            for resource in stack.resources.values()
            if resource.id not in boundaries
        }
        for resource in resources.values():
            resource.pop("Condition", None)
        text = json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}, indent=1)
        (folder / f"{variant}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
