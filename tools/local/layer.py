"""Unpack the layer of a local stack once, instead of for every worker.

The emulator unpacks a function's layer, two thousand files, for each worker that it starts, which takes most
of a cold start. So the built layer is unpacked beside the stack, and the deployed layer is one file that
points there. Functions import exactly what was built.
"""

import shutil
from pathlib import Path

from tools.local.home import Home

# Python executes the lines of a .pth file that begin with `import` (documentation of the module `site`).
_PATH_FILE = "python/lib/python3.13/site-packages/layer.pth"


def unpack_layer(home: Home, built: Path, deployment: str) -> Path:
    """Unpack the layer beside the template `built` and return the folder to deploy in its place.

    Each deployment has a folder of its own, since workers of the one before still import from theirs.
    """
    folder = home.layers / deployment
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(built.parent / "CommonLayer/python", folder / "unpacked")
    path_file = folder / "deployed" / _PATH_FILE
    path_file.parent.mkdir(parents=True)
    path_file.write_text(f"import sys; sys.path.insert(0, {str(folder / 'unpacked')!r})\n", "utf-8")
    return folder / "deployed"


def remove_other_layers(home: Home, *deployments: str) -> None:
    """Remove the layers of all but these deployments."""
    for folder in home.layers.glob("*"):
        if folder.name not in deployments:
            shutil.rmtree(folder)
