"""Start LiteLLM's proxy with its Replicate provider on another API base.

The provider ignores `api_base` and calls https://api.replicate.com (`ReplicateConfig.get_complete_url` of
1.108.7), so this replaces that one method. It runs in `.venvs/peers`, and takes the arguments of `litellm`.
"""

from __future__ import annotations

import sys
from typing import Any

from litellm.llms.replicate.chat.transformation import ReplicateConfig
from litellm.proxy.proxy_cli import run_server

_REPLICATE_URL = "https://api.replicate.com"
_build_url = ReplicateConfig.get_complete_url


def build_url_with_base(self: Any, api_base: str, *args: Any, **options: Any) -> str:
    """Return the URL of a create, at `api_base`."""
    url: str = _build_url(self, api_base, *args, **options)
    return url.replace(_REPLICATE_URL, api_base)


if __name__ == "__main__":
    ReplicateConfig.get_complete_url = build_url_with_base
    run_server(sys.argv[1:])
