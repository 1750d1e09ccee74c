"""Text models, plain data, and the shapes that carry no file."""

from tools.simulator.models.base import Run, Script, Step

_WORDS = (
    "The",
    " quiet",
    " river",
    " turns",
    " under",
    " the",
    " old",
    " stone",
    " bridge",
    ",",
    " carrying",
    " light",
    " and",
    " paper",
    " boats",
    " towards",
    " the",
    " sea",
    ".",
    " 東京",
    " déjà",
    " vu",
    "\n",
)


def llama(run: Run) -> Script:
    """A list of text pieces that grows while it runs."""
    count = min(run.get("max_tokens", 64), 512)
    tokens = [run.rng.choice(_WORDS) for _ in range(count)]
    bursts = range(1, min(count, 8))
    steps = tuple(Step(at=n / 8, output=tokens[: count * n // 8]) for n in bursts)
    prompt_tokens = len(str(run.get("prompt", "")).split())
    metrics = {"input_token_count": prompt_tokens, "output_token_count": count, "time_to_first_token": 0.05}
    return Script(output=tokens, steps=steps, metrics=metrics)


def hello(run: Run) -> Script:
    """One bare string."""
    return Script(output=f"hello {run.get('text', 'world')}")


def whisper(run: Run) -> Script:
    """An object of text and nested segments."""
    segments = [
        {
            "id": n,
            "start": n * 2.5,
            "end": n * 2.5 + 2.5,
            "text": "".join(run.rng.choices(_WORDS, k=6)),
            "tokens": [run.rng.randrange(50_000) for _ in range(8)],
            "avg_logprob": -run.rng.random(),
        }
        for n in range(5)
    ]
    text = "".join(str(segment["text"]) for segment in segments)
    return Script(
        output={
            "transcription": text,
            "segments": segments,
            "detected_language": "english",
            "translation": None,
            "txt_file": None,
            "srt_file": None,
        }
    )


def nothing(_: Run) -> Script:
    """A success whose output is null."""
    return Script(output=None)


def embeddings(run: Run) -> Script:
    """Vectors of numbers."""
    return Script(output=[[run.rng.uniform(-1, 1) for _ in range(768)] for _ in range(2)])


def huge(run: Run) -> Script:
    """JSON of about `size` bytes (3 MB unless told), as the largest public example has."""
    rows = run.get("size", 3_000_000) // 100
    return Script(
        output=[{"row": n, "text": f"{run.rng.getrandbits(256):064x}", "ok": True} for n in range(rows)]
    )


def talkative(run: Run) -> Script:
    """Logs that grow line by line."""
    lines = run.get("lines", 40)
    steps = tuple(Step(at=n / lines, logs=f"step {n}: loss={1 / (n + 1):.4f}\n") for n in range(lines))
    return Script(output="done", steps=steps)


def failing(run: Run) -> Script:
    """A run that fails in Replicate's infrastructure."""
    code = run.get("code", "E9828")
    return Script(status="failed", error=f"Director: unexpected error handling prediction ({code})")
