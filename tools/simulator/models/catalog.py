"""The catalog: every hosted model and deployment, and the look-ups by name, version and words."""

from collections.abc import Iterable

from tools.simulator.models import behaviors, lab
from tools.simulator.models.model import (
    PROMPT_SCHEMA,
    STRING_SCHEMA,
    URI_SCHEMA,
    JsonSchema,
    Model,
    array_schema,
    enum_schema,
    integer_schema,
    object_schema,
)

_SIDE_SCHEMA = integer_schema(1024, 64, 4096)
_FORMAT_SCHEMA = enum_schema("webp", "jpg", "png")
_ANY_SCHEMA: JsonSchema = {"title": "Output"}
_VECTORS_SCHEMA = array_schema(array_schema({"type": "number"}))

MODELS: tuple[Model, ...] = (
    Model(
        owner="black-forest-labs",
        name="flux-schnell",
        is_official=True,
        stream="files",
        behavior=behaviors.run_flux_schnell,
        description="Fast text to image: a list of images",
        output=array_schema(URI_SCHEMA),
        required=("prompt",),
        inputs={
            "prompt": PROMPT_SCHEMA,
            "output_format": _FORMAT_SCHEMA,
            "num_outputs": integer_schema(1, 1, 8),
            "aspect_ratio": enum_schema(*behaviors.SIDES_BY_ASPECT_RATIO),
            "megapixels": enum_schema("1", "0.25"),
            "output_quality": integer_schema(80, 0, 100),
            "width": _SIDE_SCHEMA,
            "height": _SIDE_SCHEMA,
        },
    ),
    Model(
        owner="black-forest-labs",
        name="flux-1.1-pro",
        is_official=True,
        behavior=behaviors.run_flux_pro,
        latency_factor=2,
        description="Text to image: one bare URL",
        output=URI_SCHEMA,
        required=("prompt",),
        inputs={
            "prompt": PROMPT_SCHEMA,
            "output_format": _FORMAT_SCHEMA,
            "aspect_ratio": enum_schema(*behaviors.SIDES_BY_ASPECT_RATIO),
        },
    ),
    Model(
        owner="stability-ai",
        name="sdxl",
        behavior=behaviors.run_sdxl,
        latency_factor=2,
        description="Text to image by version: a list of PNGs",
        output=array_schema(URI_SCHEMA),
        required=("prompt",),
        inputs={
            "prompt": PROMPT_SCHEMA,
            "width": _SIDE_SCHEMA,
            "height": _SIDE_SCHEMA,
            "num_outputs": integer_schema(1, 1, 4),
        },
    ),
    Model(
        owner="meta",
        name="meta-llama-3-8b-instruct",
        is_official=True,
        stream="text",
        behavior=behaviors.run_llama,
        description="Language model: a growing list of text",
        required=("prompt",),
        output={
            **array_schema(STRING_SCHEMA),
            "x-cog-array-type": "iterator",
            "x-cog-array-display": "concatenate",
        },
        inputs={"prompt": PROMPT_SCHEMA, "max_tokens": integer_schema(64, 1, 4096)},
    ),
    Model(
        owner="openai",
        name="whisper",
        behavior=behaviors.run_whisper,
        description="Speech to text: a nested object",
        output=object_schema(
            transcription=STRING_SCHEMA,
            segments=_ANY_SCHEMA,
            detected_language=STRING_SCHEMA,
            translation=STRING_SCHEMA,
        ),
        inputs={"audio": URI_SCHEMA},
        required=("audio",),
    ),
    Model(
        owner="replicate",
        name="hello-world",
        behavior=behaviors.run_hello_world,
        description="One bare string",
        output=STRING_SCHEMA,
        inputs={"text": STRING_SCHEMA},
        required=("text",),
    ),
    Model(
        owner="minimax",
        name="video-01",
        is_official=True,
        behavior=behaviors.run_video,
        latency_factor=5,
        description="Text to video: one bare MP4 URL",
        output=URI_SCHEMA,
        inputs={"prompt": PROMPT_SCHEMA},
        required=("prompt",),
    ),
    Model(
        owner="meta",
        name="musicgen",
        behavior=behaviors.run_musicgen,
        latency_factor=2,
        description="Music: one bare WAV URL",
        output=URI_SCHEMA,
        inputs={"prompt": PROMPT_SCHEMA, "duration": integer_schema(3, 1, 30)},
    ),
    Model(
        owner="recraft-ai",
        name="recraft-v3-svg",
        is_official=True,
        behavior=behaviors.run_svg,
        description="Vector drawing: one bare SVG URL",
        output=URI_SCHEMA,
        inputs={"prompt": PROMPT_SCHEMA},
    ),
    Model(
        owner="local",
        name="parts",
        behavior=behaviors.run_parts,
        description="An object of files, text and null",
        output=object_schema(
            image=URI_SCHEMA, mask=URI_SCHEMA, depth=URI_SCHEMA, caption=STRING_SCHEMA, extra=_ANY_SCHEMA
        ),
        inputs={},
    ),
    Model(
        owner="local",
        name="captioned",
        behavior=behaviors.run_captioned,
        description="A list of objects text + image",
        output=array_schema(object_schema(text=STRING_SCHEMA, image=URI_SCHEMA)),
        inputs={"prompt": PROMPT_SCHEMA},
    ),
    Model(
        owner="local",
        name="grid",
        behavior=behaviors.run_grid,
        description="A list of lists of images",
        output=array_schema(array_schema(URI_SCHEMA)),
        inputs={},
    ),
    Model(
        owner="local",
        name="animated-gif",
        behavior=behaviors.run_animated_gif,
        description="One animated GIF",
        output=URI_SCHEMA,
        inputs={"frames": integer_schema(6, 2, 60)},
    ),
    Model(
        owner="local",
        name="many-files",
        behavior=behaviors.run_many_files,
        description="Up to 249 images",
        output=array_schema(URI_SCHEMA),
        inputs={"n": integer_schema(249, 1, 249)},
    ),
    Model(
        owner="local",
        name="same-names",
        behavior=behaviors.run_same_names,
        description="Equal basenames",
        output=array_schema(URI_SCHEMA),
        inputs={"n": integer_schema(3, 1, 50)},
    ),
    Model(
        owner="local",
        name="data-uri",
        behavior=behaviors.run_data_uri,
        description="An image inside the JSON",
        output=array_schema(URI_SCHEMA),
        inputs={},
    ),
    Model(
        owner="local",
        name="third-party",
        behavior=behaviors.run_third_party,
        description="A file on another host",
        output=array_schema(URI_SCHEMA),
        inputs={},
    ),
    Model(
        owner="local",
        name="archive",
        behavior=behaviors.run_archive,
        description="One ZIP",
        output=URI_SCHEMA,
        inputs={},
    ),
    Model(
        owner="local",
        name="mixture",
        behavior=behaviors.run_mixture,
        description="A file of every kind",
        output=array_schema(URI_SCHEMA),
        inputs={},
    ),
    Model(
        owner="local",
        name="nothing",
        behavior=behaviors.run_null_output,
        description="Null output",
        output=_ANY_SCHEMA,
        inputs={},
    ),
    Model(
        owner="local",
        name="embeddings",
        behavior=behaviors.run_embeddings,
        description="Vectors of numbers",
        output=_VECTORS_SCHEMA,
        inputs={"text": STRING_SCHEMA},
    ),
    Model(
        owner="local",
        name="huge-json",
        behavior=behaviors.run_huge_json,
        description="Megabytes of JSON",
        output=_ANY_SCHEMA,
        inputs={"size": integer_schema(3_000_000, 1000, 20_000_000)},
    ),
    Model(
        owner="local",
        name="talkative",
        behavior=behaviors.run_talkative,
        description="Growing logs",
        output=STRING_SCHEMA,
        inputs={"lines": integer_schema(40, 1, 1000)},
        latency_factor=4,
    ),
    Model(
        owner="local",
        name="failing",
        behavior=behaviors.run_failing,
        description="Fails with an E-code",
        output=_ANY_SCHEMA,
        inputs={"code": STRING_SCHEMA},
    ),
    Model(
        owner="local",
        name="lab",
        is_official=True,
        behavior=lab.run_lab,
        description="Does what its input says",
        output=_ANY_SCHEMA,
        inputs=lab.INPUTS,
    ),
    Model(
        owner="local",
        name="stream-lab",
        is_official=True,
        stream="text",
        behavior=lab.run_lab,
        description="Does what its input says, and streams it",
        output=_ANY_SCHEMA,
        inputs=lab.INPUTS,
    ),
)

MODELS_BY_DEPLOYMENT: dict[str, str] = {
    "local/lab-deployment": "local/lab",
    "local/sdxl-deployment": "stability-ai/sdxl",
}


class Catalog:
    """The models by name and by version."""

    def __init__(self, models: Iterable[Model] = MODELS) -> None:
        self._by_name = {model.full_name: model for model in models}
        self._by_version = {model.version: model for model in self._by_name.values()}

    def list_models(self) -> list[Model]:
        """Return every model, in the order of the catalog."""
        return list(self._by_name.values())

    def search_models(self, words: str) -> list[Model]:
        """Return the models whose name or description contains every word."""
        searched = words.lower().split()
        return [
            model
            for model in self.list_models()
            if all(word in f"{model.full_name} {model.description}".lower() for word in searched)
        ]

    def find_by_name(self, full_name: str) -> Model | None:
        """Return the model `owner/name`."""
        return self._by_name.get(full_name)

    def find_by_deployment(self, full_name: str) -> Model | None:
        """Return the model that the deployment `owner/name` runs."""
        return self._by_name.get(MODELS_BY_DEPLOYMENT.get(full_name, ""))

    def find_by_version(self, version: str) -> Model | None:
        """Return the model of `<64 hex>`, `owner/name:<64 hex>`, or `owner/name` (official models only)."""
        name, colon, version_id = version.partition(":")
        if colon:
            model = self._by_name.get(name)
            return model if model and model.version == version_id else None
        if "/" in version:
            model = self._by_name.get(version)
            return model if model and model.is_official else None
        return self._by_version.get(version)
