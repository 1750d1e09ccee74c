"""Models whose files are no raster images."""

from tools.simulator.media.spec import MediaSpec, OutputFile
from tools.simulator.models.base import Run, Script


def _one(kind: str, name: str, seconds: float = 2.0) -> Script:
    return Script(output=OutputFile(media=MediaSpec(kind=kind, seconds=seconds), name=name))


def video(_: Run) -> Script:
    """One bare MP4 URL."""
    return _one("mp4", "output.mp4", seconds=6)


def music(run: Run) -> Script:
    """One bare WAV URL."""
    return _one("wav", "out.wav", seconds=run.get("duration", 3))


def vector(_: Run) -> Script:
    """One bare SVG URL."""
    return _one("svg", "image.svg")


def archive(_: Run) -> Script:
    """One bare ZIP URL."""
    return _one("zip", "out.zip")


def mixture(_: Run) -> Script:
    """A list of files of many kinds."""
    kinds = (
        "png",
        "jpg",
        "webp",
        "gif",
        "mp4",
        "wav",
        "mp3",
        "zip",
        "glb",
        "svg",
        "txt",
        "md",
        "json",
        "bin",
    )
    return Script(output=[OutputFile(media=MediaSpec(kind=kind, width=96, height=96)) for kind in kinds])
