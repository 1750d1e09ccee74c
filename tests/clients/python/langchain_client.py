"""LangChain's `Replicate`, unmodified. It uses PyPI `replicate`, which reads its base URL from a variable."""

import os

import pytest
from langchain_community.llms import Replicate

LLAMA = "meta/meta-llama-3-8b-instruct"


def test_invoke_by_model_returns_text() -> None:
    assert Replicate(model=LLAMA, model_kwargs={"max_tokens": 9}).invoke("a poem").strip()


def test_invoke_by_version_returns_text() -> None:
    model = f"replicate/hello-world:{os.environ['HELLO_VERSION']}"

    assert Replicate(model=model).invoke("Alice") == "hello Alice"


def test_stream_yields_the_text_in_parts() -> None:
    parts = list(Replicate(model=LLAMA, model_kwargs={"max_tokens": 9}).stream("a poem"))

    assert len(parts) == 9


def test_invoke_raises_the_error_of_a_failed_model() -> None:
    llm = Replicate(model="local/lab", prompt_key="error", model_kwargs={"status": "failed"})

    with pytest.raises(RuntimeError, match="out of words"):
        llm.invoke("out of words")
