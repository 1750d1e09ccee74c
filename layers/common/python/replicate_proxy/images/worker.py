"""The child process: one JSON line in, one JSON line out, behind walls the kernel keeps.

`python -m replicate_proxy.images.worker '<limits as JSON>'`. It is started with an empty environment (no
credentials), may not take more memory than allowed, write large files or leave core dumps, and is killed by
its parent when it is late. Standard output is taken away from the libraries, so that nothing but replies can
appear on the pipe.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pipeline import compress_image
from replicate_proxy.images.reading import configure_pillow
from replicate_proxy.images.task import ImageLimits, ImageTask

_LARGEST_FILE_BYTES = 256 * 1024 * 1024


def main() -> None:
    """Serves requests until standard input ends."""
    limits = ImageLimits(**json.loads(sys.argv[1]))
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    configure_pillow(limits)
    _build_walls(limits)
    replies.write('{"ready": true}\n')
    for line in sys.stdin:
        request = json.loads(line)
        replies.write(json.dumps(asdict(compress_image(_job(request, limits)))) + "\n")


def _job(request: dict[str, Any], limits: ImageLimits) -> ImageTask:
    return ImageTask(
        source=Path(request["source"]),
        output=Path(request["output"]),
        thumbnail=Path(request["thumbnail"]),
        options=ImageOptions(**request["options"]),
        limits=limits,
    )


def _build_walls(limits: ImageLimits) -> None:
    memory = limits.max_memory_mb * 1024 * 1024
    # Address space counts the libraries' mappings too, which cost no memory; RLIMIT_DATA is the wall proper.
    for what, value in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_AS, 2 * memory),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(what, (value, value))
        except (ValueError, OSError):
            # macOS has no settable memory limit; the time limit and the parent's eye on the size remain.
            continue


if __name__ == "__main__":
    main()
