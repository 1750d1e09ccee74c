"""LiteLLM's Replicate provider.

It ignores `api_base` and calls https://api.replicate.com (1.110.2, `ReplicateConfig.get_complete_url`).
So these tests replace that one method, as docs/api.md tells callers.
"""

import asyncio
import os
from typing import Any

import litellm
import pytest
from litellm.llms.replicate.chat.transformation import ReplicateConfig

REPLICATE_URL = "https://api.replicate.com"
OPTIONS: dict[str, Any] = {
    "model": "replicate/meta/meta-llama-3-8b-instruct",
    "messages": [{"role": "user", "content": "a poem"}],
    "api_base": os.environ["REPLICATE_BASE_URL"],
    "api_key": os.environ["REPLICATE_API_TOKEN"],
}


@pytest.fixture(autouse=True)
def api_base_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the provider call `api_base` instead of Replicate."""
    build_url = ReplicateConfig.get_complete_url

    def build_proxy_url(self: Any, api_base: str, *args: Any, **options: Any) -> str:
        url: str = build_url(self, api_base, *args, **options)
        return url.replace(REPLICATE_URL, api_base)

    monkeypatch.setattr(ReplicateConfig, "get_complete_url", build_proxy_url)


def test_completion_returns_text() -> None:
    assert litellm.completion(**OPTIONS).choices[0].message.content.strip()


def test_streaming_completion_returns_text() -> None:
    parts = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**OPTIONS, stream=True)]

    assert "".join(parts).strip()


def test_asynchronous_completion_returns_text() -> None:
    assert asyncio.run(litellm.acompletion(**OPTIONS)).choices[0].message.content.strip()


def test_completion_on_a_deployment_returns_text() -> None:
    options = OPTIONS | {"model": "replicate/deployments/local/lab-deployment", "output": ["a ", "b"]}

    assert litellm.completion(**options).choices[0].message.content == "a b"


def test_completion_raises_the_error_of_an_invalid_key() -> None:
    with pytest.raises(Exception, match="valid authentication token"):
        litellm.completion(**(OPTIONS | {"api_key": "rp_wrong"}))
