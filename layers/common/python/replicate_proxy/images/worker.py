"""The child process: reads one image task a line from standard input, writes one result a line, both as JSON.

`python -m replicate_proxy.images.worker '<limits as JSON>'`. The parent starts it with an environment that
holds no credentials and kills it when it exceeds the time limit. The kernel enforces the limits that the
process sets for itself: memory, size of written files, no core dumps. Standard output is redirected, so that
libraries cannot write between the results.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from replicate_proxy.images.decode import configure_pillow
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pipeline import process_image
from replicate_proxy.images.task import ImageLimits, ImageTask

# A file without its metadata may be larger than its source, by what is written in place of the metadata.
_MAX_ADDED_BYTES = 1024 * 1024


def main() -> None:
    """Process tasks until standard input ends."""
    limits = ImageLimits(**json.loads(sys.argv[1]))
    results = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    configure_pillow(limits)
    _set_rlimits(limits)
    results.write('{"ready": true}\n')
    for line in sys.stdin:
        task = _parse_task(json.loads(line), limits)
        results.write(json.dumps(asdict(process_image(task))) + "\n")


def _parse_task(request: dict[str, Any], limits: ImageLimits) -> ImageTask:
    return ImageTask(
        source=Path(request["source"]),
        output=Path(request["output"]),
        thumbnail=Path(request["thumbnail"]),
        options=ImageOptions(**request["options"]),
        limits=limits,
        failure=request["failure"],
    )


def _set_rlimits(limits: ImageLimits) -> None:
    memory_bytes = limits.max_memory_mb * 1024 * 1024
    for limited_resource, value in (
        (resource.RLIMIT_DATA, memory_bytes),
        # Address space includes the mapped libraries and source, which take hardly any memory.
        (resource.RLIMIT_AS, 2 * memory_bytes + limits.max_file_bytes),
        (resource.RLIMIT_FSIZE, limits.max_file_bytes + _MAX_ADDED_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(limited_resource, (value, value))
        except (ValueError, OSError):
            # macOS cannot limit memory. The time limit still holds there.
            continue


if __name__ == "__main__":
    main()
