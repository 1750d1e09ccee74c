"""The layer of a local stack, unpacked once instead of anew for every worker.

The emulator unpacks a function's layer, two thousand files, for each worker that it starts: most of a cold
start. So the built layer is laid beside the stack, and deployed in its place is one file that says where.
What functions import is what was built.
"""

import json
import shutil
from pathlib import Path

from tools.local.errors import LocalError
from tools.local.home import Home

_CONTENT = "ContentUri: CommonLayer\n"
# Python runs the lines of a .pth file in a site directory that begin with `import` (documentation of `site`).
_PATH_FILE = "python/lib/python3.13/site-packages/layer.pth"


def unpack(home: Home, template: Path, deployment: str) -> Path:
    """The template to deploy instead of `template`, both in one folder.

    Each deployment has a folder of its own: workers of the one before still import from theirs.
    """
    folder = home.layers / deployment
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template.parent / "CommonLayer/python", folder / "unpacked")
    pointer = folder / "deployed"
    (pointer / _PATH_FILE).parent.mkdir(parents=True)
    (pointer / _PATH_FILE).write_text(
        f"import sys; sys.path.insert(0, {str(folder / 'unpacked')!r})\n", "utf-8"
    )
    text = template.read_text("utf-8")
    if text.count(_CONTENT) != 1:
        raise LocalError(f"{template} names the content of its layer otherwise than {_CONTENT.strip()!r}")
    pointing = template.with_name(f"template-{home.name}.yaml")
    pointing.write_text(text.replace(_CONTENT, f"ContentUri: {json.dumps(str(pointer))}\n"), "utf-8")
    return pointing


def forget_others(home: Home, *deployments: str) -> None:
    """Drop the layers of all but these deployments."""
    for folder in home.layers.glob("*"):
        if folder.name not in deployments:
            shutil.rmtree(folder)
