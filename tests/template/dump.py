"""Write the transformed template, with defaults and with every option on, for scanners.

`python -m tests.template.dump FOLDER`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.template.variants import load_variant

_SCANNED_VARIANTS = ("default", "everything")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for variant in _SCANNED_VARIANTS:
        resources = {
            resource.id: {**resource.declared, "Properties": resource.properties}
            for resource in load_variant(variant).resources.values()
        }
        for resource in resources.values():
            resource.pop("Condition", None)
        text = json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}, indent=1)
        (folder / f"{variant}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
