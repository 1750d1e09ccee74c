"""Models of the local Replicate, by the names and versions that clients use."""

from tools.simulator.models.catalog import Catalog

FLUX = "black-forest-labs/flux-schnell"
SDXL = "stability-ai/sdxl"
LLAMA = "meta/meta-llama-3-8b-instruct"
LAB = "local/lab"
SMALL_IMAGE_INPUT = {"prompt": "a lighthouse", "megapixels": "0.25"}
"""Makes FLUX paint 512 × 512 pixels."""


def get_version(name: str) -> str:
    """The 64 digits of the model's only version."""
    model = Catalog().find_by_name(name)
    assert model is not None
    return model.version
