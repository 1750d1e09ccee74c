"""Behavior of the models: one function per model, from the input to what happens in the run.

Together they produce every output shape that public models have: images, other files, text, plain data.
"""

from tools.simulator.media.spec import MediaSpec, OutputFile
from tools.simulator.models.model import RunContext, RunScript, RunStep

SIDES_BY_ASPECT_RATIO = {"1:1": (1024, 1024), "16:9": (1344, 768), "9:16": (768, 1344), "4:3": (1152, 896)}
_TOKENS = (
    *("The", " quiet", " river", " turns", " under", " the", " old", " stone", " bridge", ","),
    *(" carrying", " light", " and", " paper", " boats", " towards", " the", " sea", "."),
    *(" 東京", " déjà", " vu", "\n"),
)
_MIXED_KINDS = (
    *("png", "jpg", "webp", "gif", "mp4", "wav", "mp3"),
    *("zip", "glb", "svg", "txt", "md", "json", "bin"),
)


# Images


def run_flux_schnell(context: RunContext) -> RunScript:
    """Return a list of images in the requested format. `megapixels: "0.25"` halves each side."""
    width, height = SIDES_BY_ASPECT_RATIO[context.get("aspect_ratio", "1:1")]
    width, height = context.get("width", width), context.get("height", height)
    if context.get("megapixels", "1") == "0.25":
        width, height = width // 2, height // 2
    kind, count = context.get("output_format", "webp"), context.get("num_outputs", 1)
    media = MediaSpec(kind=kind, width=width, height=height, quality=context.get("output_quality", 80))
    return RunScript(
        output=[OutputFile(media=media)] * count,
        steps=_create_progress_steps(4),
        metrics={"image_count": count},
    )


def run_flux_pro(context: RunContext) -> RunScript:
    """Return one image URL that is not in a list."""
    width, height = SIDES_BY_ASPECT_RATIO[context.get("aspect_ratio", "1:1")]
    kind = context.get("output_format", "webp")
    media = MediaSpec(kind=kind, width=width, height=height)
    return RunScript(output=OutputFile(media=media, name=f"output.{kind}"), metrics={"image_count": 1})


def run_sdxl(context: RunContext) -> RunScript:
    """Return a list of PNGs, with the progress bar of a diffusion model in the logs."""
    media = MediaSpec(width=context.get("width", 1024), height=context.get("height", 1024))
    files = [OutputFile(media=media)] * context.get("num_outputs", 1)
    return RunScript(output=files, steps=_create_progress_steps(8))


def run_captioned(context: RunContext) -> RunScript:
    """Return a list of objects, each with a caption and an image."""
    media = MediaSpec(kind="jpg", width=512, height=512)
    prompt = context.get("prompt", "scene")
    return RunScript(output=[{"text": f"{prompt} {n}", "image": OutputFile(media=media)} for n in range(3)])


def run_grid(_: RunContext) -> RunScript:
    """Return two rows of two images."""
    media = MediaSpec(width=256, height=256)
    return RunScript(output=[[OutputFile(media=media), OutputFile(media=media)]] * 2)


def run_parts(_: RunContext) -> RunScript:
    """Return an object of images, text and null, with one image nested."""
    image = MediaSpec(width=256, height=256)
    mask = MediaSpec(width=256, height=256, mode="L")
    preview = MediaSpec(kind="webp", width=128, height=128)
    return RunScript(
        output={
            "image": OutputFile(media=image, name="image.png"),
            "mask": OutputFile(media=mask, name="mask.png"),
            "depth": None,
            "caption": "a sofa by a window",
            "extra": {"preview": OutputFile(media=preview, name="preview.webp")},
        }
    )


def run_animated_gif(context: RunContext) -> RunScript:
    """Return one animated GIF."""
    media = MediaSpec(kind="gif", width=256, height=256, frames=context.get("frames", 6))
    return RunScript(output=OutputFile(media=media, name="out.gif"))


def run_many_files(context: RunContext) -> RunScript:
    """Return as many small PNGs as requested; public models reach 249."""
    media = MediaSpec(width=128, height=128)
    return RunScript(output=[OutputFile(media=media) for _ in range(context.get("n", 249))])


def run_same_names(context: RunContext) -> RunScript:
    """Return files that have the same base name in different folders."""
    media = MediaSpec(width=256, height=256)
    return RunScript(output=[OutputFile(media=media, name="out.png")] * context.get("n", 3))


def run_data_uri(_: RunContext) -> RunScript:
    """Return an image as a data: URI instead of a URL."""
    return RunScript(output=[OutputFile(media=MediaSpec(width=200, height=200), origin="data")])


def run_third_party(_: RunContext) -> RunScript:
    """Return an image on a host that is not Replicate's, and one that is on Replicate's."""
    media = MediaSpec(width=256, height=256)
    return RunScript(output=[OutputFile(media=media, origin="third-party"), OutputFile(media=media)])


def _create_progress_steps(count: int) -> tuple[RunStep, ...]:
    """Return the steps of a progress bar, spread evenly over the run."""
    bars = (
        f"{100 * n // count:3d}%|{'█' * n}{' ' * (count - n)}| {n}/{count}\n" for n in range(1, count + 1)
    )
    return tuple(RunStep(at=n / (count + 1), logs=bar) for n, bar in enumerate(bars, 1))


# Other files


def run_video(_: RunContext) -> RunScript:
    """Return one MP4 URL."""
    return _return_one_file("mp4", "output.mp4", seconds=6)


def run_musicgen(context: RunContext) -> RunScript:
    """Return one WAV URL."""
    return _return_one_file("wav", "out.wav", seconds=context.get("duration", 3))


def run_svg(_: RunContext) -> RunScript:
    """Return one SVG URL."""
    return _return_one_file("svg", "image.svg")


def run_archive(_: RunContext) -> RunScript:
    """Return one ZIP URL."""
    return _return_one_file("zip", "out.zip")


def run_mixture(_: RunContext) -> RunScript:
    """Return a list of files of many kinds."""
    return RunScript(
        output=[OutputFile(media=MediaSpec(kind=kind, width=96, height=96)) for kind in _MIXED_KINDS]
    )


def _return_one_file(kind: str, name: str, seconds: float = 2.0) -> RunScript:
    return RunScript(output=OutputFile(media=MediaSpec(kind=kind, seconds=seconds), name=name))


# Text and plain data


def run_llama(context: RunContext) -> RunScript:
    """Return a list of text pieces that grows during the run."""
    count = min(context.get("max_tokens", 64), 512)
    tokens = [context.rng.choice(_TOKENS) for _ in range(count)]
    steps = tuple(RunStep(at=n / 8, output=tokens[: count * n // 8]) for n in range(1, min(count, 8)))
    metrics = {
        "input_token_count": len(str(context.get("prompt", "")).split()),
        "output_token_count": count,
        "time_to_first_token": 0.05,
    }
    return RunScript(output=tokens, steps=steps, metrics=metrics)


def run_hello_world(context: RunContext) -> RunScript:
    """Return one string."""
    return RunScript(output=f"hello {context.get('text', 'world')}")


def run_whisper(context: RunContext) -> RunScript:
    """Return an object of text and nested segments."""
    segments = [
        {
            "id": n,
            "start": n * 2.5,
            "end": n * 2.5 + 2.5,
            "text": "".join(context.rng.choices(_TOKENS, k=6)),
            "tokens": [context.rng.randrange(50_000) for _ in range(8)],
            "avg_logprob": -context.rng.random(),
        }
        for n in range(5)
    ]
    return RunScript(
        output={
            "transcription": "".join(str(segment["text"]) for segment in segments),
            "segments": segments,
            "detected_language": "english",
            "translation": None,
            "txt_file": None,
            "srt_file": None,
        }
    )


def run_null_output(_: RunContext) -> RunScript:
    """Succeed with null as output."""
    return RunScript(output=None)


def run_embeddings(context: RunContext) -> RunScript:
    """Return vectors of numbers."""
    return RunScript(output=[[context.rng.uniform(-1, 1) for _ in range(768)] for _ in range(2)])


def run_huge_json(context: RunContext) -> RunScript:
    """Return JSON of about `size` bytes; the default of 3 MB is the size of the largest public example."""
    rows = context.get("size", 3_000_000) // 100
    return RunScript(
        output=[{"row": n, "text": f"{context.rng.getrandbits(256):064x}", "ok": True} for n in range(rows)]
    )


def run_talkative(context: RunContext) -> RunScript:
    """Write logs that grow line by line."""
    lines = context.get("lines", 40)
    steps = tuple(RunStep(at=n / lines, logs=f"step {n}: loss={1 / (n + 1):.4f}\n") for n in range(lines))
    return RunScript(output="done", steps=steps)


def run_failing(context: RunContext) -> RunScript:
    """Fail as a run does whose error is in Replicate's infrastructure."""
    code = context.get("code", "E9828")
    return RunScript(status="failed", error=f"Director: unexpected error handling prediction ({code})")
