"""Which models exist, and how each is found."""

from collections.abc import Iterable

from tools.simulator.models import lab, language, pictures, recordings
from tools.simulator.models.base import PROMPT, TEXT, URI, Model, choice, integer, list_of, object_of

_SIDE = integer(1024, 64, 4096)
_FORMAT = choice("webp", "jpg", "png")
_ANY = {"title": "Output"}
_NUMBERS = list_of(list_of({"type": "number"}))

MODELS: tuple[Model, ...] = (
    Model(
        owner="black-forest-labs",
        name="flux-schnell",
        is_official=True,
        behavior=pictures.flux_schnell,
        description="Fast text to image: a list of images",
        output=list_of(URI),
        required=("prompt",),
        inputs={
            "prompt": PROMPT,
            "output_format": _FORMAT,
            "num_outputs": integer(1, 1, 8),
            "aspect_ratio": choice(*pictures.ASPECTS),
            "megapixels": choice("1", "0.25"),
            "output_quality": integer(80, 0, 100),
            "width": _SIDE,
            "height": _SIDE,
        },
    ),
    Model(
        owner="black-forest-labs",
        name="flux-1.1-pro",
        is_official=True,
        behavior=pictures.flux_pro,
        latency_factor=2,
        description="Text to image: one bare URL",
        output=URI,
        required=("prompt",),
        inputs={"prompt": PROMPT, "output_format": _FORMAT, "aspect_ratio": choice(*pictures.ASPECTS)},
    ),
    Model(
        owner="stability-ai",
        name="sdxl",
        behavior=pictures.sdxl,
        latency_factor=2,
        description="Text to image by version: a list of PNGs",
        output=list_of(URI),
        required=("prompt",),
        inputs={"prompt": PROMPT, "width": _SIDE, "height": _SIDE, "num_outputs": integer(1, 1, 4)},
    ),
    Model(
        owner="meta",
        name="meta-llama-3-8b-instruct",
        is_official=True,
        is_streamable=True,
        behavior=language.llama,
        description="Language model: a growing list of text",
        required=("prompt",),
        output={**list_of(TEXT), "x-cog-array-type": "iterator", "x-cog-array-display": "concatenate"},
        inputs={"prompt": PROMPT, "max_tokens": integer(64, 1, 4096)},
    ),
    Model(
        owner="openai",
        name="whisper",
        behavior=language.whisper,
        description="Speech to text: a nested object",
        output=object_of(transcription=TEXT, segments=_ANY, detected_language=TEXT, translation=TEXT),
        inputs={"audio": URI},
        required=("audio",),
    ),
    Model(
        owner="replicate",
        name="hello-world",
        behavior=language.hello,
        description="One bare string",
        output=TEXT,
        inputs={"text": TEXT},
        required=("text",),
    ),
    Model(
        owner="minimax",
        name="video-01",
        is_official=True,
        behavior=recordings.video,
        latency_factor=5,
        description="Text to video: one bare MP4 URL",
        output=URI,
        inputs={"prompt": PROMPT},
        required=("prompt",),
    ),
    Model(
        owner="meta",
        name="musicgen",
        behavior=recordings.music,
        latency_factor=2,
        description="Music: one bare WAV URL",
        output=URI,
        inputs={"prompt": PROMPT, "duration": integer(3, 1, 30)},
    ),
    Model(
        owner="recraft-ai",
        name="recraft-v3-svg",
        is_official=True,
        behavior=recordings.vector,
        description="Vector drawing: one bare SVG URL",
        output=URI,
        inputs={"prompt": PROMPT},
    ),
    Model(
        owner="local",
        name="parts",
        behavior=pictures.parts,
        description="An object of files, text and null",
        output=object_of(image=URI, mask=URI, depth=URI, caption=TEXT, extra=_ANY),
        inputs={},
    ),
    Model(
        owner="local",
        name="captioned",
        behavior=pictures.captioned,
        description="A list of objects text + image",
        output=list_of(object_of(text=TEXT, image=URI)),
        inputs={"prompt": PROMPT},
    ),
    Model(
        owner="local",
        name="grid",
        behavior=pictures.grid,
        description="A list of lists of images",
        output=list_of(list_of(URI)),
        inputs={},
    ),
    Model(
        owner="local",
        name="animated-gif",
        behavior=pictures.animated_gif,
        description="One animated GIF",
        output=URI,
        inputs={"frames": integer(6, 2, 60)},
    ),
    Model(
        owner="local",
        name="many-files",
        behavior=pictures.many,
        description="Up to 249 images",
        output=list_of(URI),
        inputs={"n": integer(249, 1, 249)},
    ),
    Model(
        owner="local",
        name="same-names",
        behavior=pictures.same_names,
        description="Equal basenames",
        output=list_of(URI),
        inputs={"n": integer(3, 1, 50)},
    ),
    Model(
        owner="local",
        name="data-uri",
        behavior=pictures.inline,
        description="An image inside the JSON",
        output=list_of(URI),
        inputs={},
    ),
    Model(
        owner="local",
        name="third-party",
        behavior=pictures.elsewhere,
        description="A file on another host",
        output=list_of(URI),
        inputs={},
    ),
    Model(
        owner="local",
        name="archive",
        behavior=recordings.archive,
        description="One ZIP",
        output=URI,
        inputs={},
    ),
    Model(
        owner="local",
        name="mixture",
        behavior=recordings.mixture,
        description="A file of every kind",
        output=list_of(URI),
        inputs={},
    ),
    Model(
        owner="local",
        name="nothing",
        behavior=language.nothing,
        description="Null output",
        output=_ANY,
        inputs={},
    ),
    Model(
        owner="local",
        name="embeddings",
        behavior=language.embeddings,
        description="Vectors of numbers",
        output=_NUMBERS,
        inputs={"text": TEXT},
    ),
    Model(
        owner="local",
        name="huge-json",
        behavior=language.huge,
        description="Megabytes of JSON",
        output=_ANY,
        inputs={"size": integer(3_000_000, 1000, 20_000_000)},
    ),
    Model(
        owner="local",
        name="talkative",
        behavior=language.talkative,
        description="Growing logs",
        output=TEXT,
        inputs={"lines": integer(40, 1, 1000)},
        latency_factor=4,
    ),
    Model(
        owner="local",
        name="failing",
        behavior=language.failing,
        description="Fails with an E-code",
        output=_ANY,
        inputs={"code": TEXT},
    ),
    Model(
        owner="local",
        name="lab",
        is_official=True,
        behavior=lab.lab,
        description="Does what its input says",
        output=_ANY,
        inputs=lab.INPUTS,
    ),
)

DEPLOYMENTS: dict[str, str] = {
    "local/lab-deployment": "local/lab",
    "local/sdxl-deployment": "stability-ai/sdxl",
}


class Catalog:
    """Look-ups by name and by version."""

    def __init__(self, models: Iterable[Model] = MODELS) -> None:
        self._by_name = {model.full_name: model for model in models}
        self._by_version = {model.version: model for model in self._by_name.values()}

    def list_models(self) -> list[Model]:
        """Every model, in catalogue order."""
        return list(self._by_name.values())

    def find_by_name(self, full_name: str) -> Model | None:
        """The model called `owner/name`."""
        return self._by_name.get(full_name)

    def find_by_deployment(self, full_name: str) -> Model | None:
        """The model that a deployment `owner/name` runs."""
        return self._by_name.get(DEPLOYMENTS.get(full_name, ""))

    def find_by_version(self, version: str) -> Model | None:
        """The model of `<64 hex>`, `owner/name:<64 hex>`, or `owner/name` (official models only)."""
        name, colon, identifier = version.partition(":")
        if colon:
            model = self._by_name.get(name)
            return model if model and model.version == identifier else None
        if "/" in version:
            model = self._by_name.get(version)
            return model if model and model.is_official else None
        return self._by_version.get(version)
