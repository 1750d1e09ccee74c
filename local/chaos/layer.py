"""Cold starts in a fraction of the time: hundreds of crashes mean hundreds of cold starts.

The emulator unpacks the layer, thousands of files, for each worker that it starts. Here the layer is unpacked
once, and each function gets a layer of one file that says where. What functions import is what was built.
"""

import io
import shutil
import zipfile

from local.build import TEMPLATE
from local.home import Home
from local.stack import Stack
from local.status import function_names

_BUILT = "CommonLayer/python"
# Python runs the lines of a .pth file in a site directory that begin with `import` (documentation of `site`).
_PATH_FILE = "python/lib/python3.13/site-packages/layer.pth"


def unpack_once(home: Home, stack: Stack) -> None:
    """Copies the built layer beside the stack and has every function import from there."""
    layer = home.directory / "layer"
    shutil.rmtree(layer, ignore_errors=True)
    shutil.copytree(TEMPLATE.parent / _BUILT, layer)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(_PATH_FILE, f"import sys; sys.path.insert(0, {str(layer)!r})\n")
    lambdas = stack.aws("lambda")
    version = lambdas.publish_layer_version(LayerName="unpacked", Content={"ZipFile": packed.getvalue()})
    for name in function_names(stack).values():
        lambdas.update_function_configuration(FunctionName=name, Layers=[version["LayerVersionArn"]])
