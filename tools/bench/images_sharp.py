"""sharp's WebP encoder in a node process, for files of one quality and for the memory that it takes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tools.bench.images_scoring import encode_png

if TYPE_CHECKING:
    from types import TracebackType

    from PIL import Image

SHARP_FOLDER = Path(__file__).with_name("sharp")
# Of sharp's `webp()`, at effort 4.
DEFAULT_QUALITY = 80


class SharpEncoder:
    """A warm node process that runs sharp/encode.js. Raises FileNotFoundError if sharp is not installed."""

    def __init__(self, folder: Path) -> None:
        if not (SHARP_FOLDER / "node_modules").exists():
            raise FileNotFoundError("sharp is not installed: run `npm ci` in tools/bench/sharp")
        self._source, self._output = folder / "sharp-source", folder / "sharp-output"
        self._process = subprocess.Popen(
            ["node", "encode.js"],  # noqa: S607 - the node on the path
            cwd=SHARP_FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def encode(self, image: Image.Image, quality: int) -> tuple[bytes, float]:
        """Return the image as WebP, and the processor time in milliseconds, decoding of the PNG included."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._source.write_bytes(encode_png(image))
        request = {"source": str(self._source), "output": str(self._output), "quality": quality}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return self._output.read_bytes(), float(answer["cpu_ms"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
