"""Image models."""

from tools.simulator.media.spec import MediaSpec, OutputFile
from tools.simulator.models.base import Run, Script, Step

ASPECTS = {"1:1": (1024, 1024), "16:9": (1344, 768), "9:16": (768, 1344), "4:3": (1152, 896)}


def flux_schnell(run: Run) -> Script:
    """A list of images in the asked format; `megapixels: "0.25"` halves each side."""
    width, height = ASPECTS[run.get("aspect_ratio", "1:1")]
    width, height = run.get("width", width), run.get("height", height)
    if run.get("megapixels", "1") == "0.25":
        width, height = width // 2, height // 2
    kind, count = run.get("output_format", "webp"), run.get("num_outputs", 1)
    media = MediaSpec(kind=kind, width=width, height=height, quality=run.get("output_quality", 80))
    return Script(
        output=[OutputFile(media=media)] * count, steps=_denoising(4), metrics={"image_count": count}
    )


def flux_pro(run: Run) -> Script:
    """One bare image URL."""
    width, height = ASPECTS[run.get("aspect_ratio", "1:1")]
    kind = run.get("output_format", "webp")
    media = MediaSpec(kind=kind, width=width, height=height)
    return Script(output=OutputFile(media=media, name=f"output.{kind}"), metrics={"image_count": 1})


def sdxl(run: Run) -> Script:
    """A list of PNGs, with the progress bar of a diffusion model in its logs."""
    media = MediaSpec(width=run.get("width", 1024), height=run.get("height", 1024))
    return Script(output=[OutputFile(media=media)] * run.get("num_outputs", 1), steps=_denoising(8))


def captioned(run: Run) -> Script:
    """A list of objects, each a caption and an image."""
    media = MediaSpec(kind="jpg", width=512, height=512)
    items = [
        {"text": f"{run.get('prompt', 'scene')} {n}", "image": OutputFile(media=media)} for n in range(3)
    ]
    return Script(output=items)


def grid(_: Run) -> Script:
    """Two rows of two images."""
    media = MediaSpec(width=256, height=256)
    return Script(output=[[OutputFile(media=media), OutputFile(media=media)]] * 2)


def parts(_: Run) -> Script:
    """An object of images beside text and null, one of them nested."""
    small = MediaSpec(width=256, height=256)
    mask = MediaSpec(width=256, height=256, mode="L")
    return Script(
        output={
            "image": OutputFile(media=small, name="image.png"),
            "mask": OutputFile(media=mask, name="mask.png"),
            "depth": None,
            "caption": "a sofa by a window",
            "extra": {
                "preview": OutputFile(
                    media=MediaSpec(kind="webp", width=128, height=128), name="preview.webp"
                )
            },
        }
    )


def animated_gif(run: Run) -> Script:
    """One animated GIF."""
    media = MediaSpec(kind="gif", width=256, height=256, frames=run.get("frames", 6))
    return Script(output=OutputFile(media=media, name="out.gif"))


def many(run: Run) -> Script:
    """As many small PNGs as asked; public models reach 249."""
    media = MediaSpec(width=128, height=128)
    return Script(output=[OutputFile(media=media) for _ in range(run.get("n", 249))])


def same_names(run: Run) -> Script:
    """Files that share one basename in different folders."""
    media = MediaSpec(width=256, height=256)
    return Script(output=[OutputFile(media=media, name="out.png")] * run.get("n", 3))


def inline(_: Run) -> Script:
    """An image as a data: URI instead of a URL."""
    return Script(output=[OutputFile(media=MediaSpec(width=200, height=200), origin="data")])


def elsewhere(_: Run) -> Script:
    """An image on a host that isn't Replicate's, beside one that is."""
    media = MediaSpec(width=256, height=256)
    return Script(output=[OutputFile(media=media, origin="third-party"), OutputFile(media=media)])


def _denoising(steps: int) -> tuple[Step, ...]:
    bars = (
        f"{100 * n // steps:3d}%|{'█' * n}{' ' * (steps - n)}| {n}/{steps}\n" for n in range(1, steps + 1)
    )
    return tuple(Step(at=n / (steps + 1), logs=bar) for n, bar in enumerate(bars, 1))
