"""The output of the command-line tools: JSON on stdout, errors on stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Callable


def print_result(command: Callable[[], Any]) -> int:
    """Run the command and print its result. Return the exit code: 0 for success, 1 for a ProxyError."""
    try:
        result = command()
    except ProxyError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 0
