"""Models of the local Replicate that the tests use."""

from tools.simulator.models.catalog import Catalog

FLUX = "black-forest-labs/flux-schnell"
SDXL = "stability-ai/sdxl"
LLAMA = "meta/meta-llama-3-8b-instruct"
LAB = "local/lab"
HELD_INPUT = {"output": "done", "hold": True}
"""An input with which LAB runs until the test completes or cancels it."""
SMALL_IMAGE_INPUT = {"prompt": "a lighthouse", "megapixels": "0.25"}
"""An input with which FLUX generates 512 × 512 pixels."""


def get_version(name: str) -> str:
    """Return the ID of the model's only version."""
    model = Catalog().find_by_name(name)
    assert model is not None
    return model.version
