"""Measure streams on the local stack: the time to the first token, and what creates take that wait for one.

Direct means the same requests to the local Replicate itself. `latency` of the local Replicate is constant, so
the difference is the proxy's.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TYPE_CHECKING, Any

import requests

from tools.bench.load import calculate_quantile, run_warm_stack
from tools.bench.results import record_result

if TYPE_CHECKING:
    from tools.bench.load import LoadGenerator

TEXT_MODEL = "meta/meta-llama-3-8b-instruct"
FILE_MODEL = "black-forest-labs/flux-schnell"
OTHER_MODEL = "local/lab"
RUNS = 20
SIMULTANEOUS = 50
MAX_ADDED_MS = 150
_INPUTS: dict[str, dict[str, Any]] = {
    TEXT_MODEL: {"prompt": "bench", "max_tokens": 64},
    FILE_MODEL: {"prompt": "bench", "megapixels": "0.25"},
    OTHER_MODEL: {"output": 1},
}
_TIMEOUT_SECONDS = 60
# The emulator starts a process for each concurrent invocation: two cores cannot start fifty at once.
_MAX_SIMULTANEOUS_CREATES = 8
_LONG_RUN_SECONDS = 10


class StreamReader:
    """Creates predictions at one API and reads their streams."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=SIMULTANEOUS))
        self._headers = {"Authorization": f"Bearer {token}"}
        self._creating = threading.Semaphore(_MAX_SIMULTANEOUS_CREATES)

    def create(self, model: str) -> tuple[float, dict[str, Any]]:
        """Create a prediction. Return the milliseconds that it took, and the prediction."""
        started_at = time.monotonic()
        response = self._session.post(
            f"{self._url}/v1/models/{model}/predictions",
            json={"input": _INPUTS[model]},
            headers=self._headers,
            timeout=_TIMEOUT_SECONDS,
        )
        response.raise_for_status()
        return (time.monotonic() - started_at) * 1000, response.json()

    def measure_first_token(self) -> tuple[float, int]:
        """Return the milliseconds from a create to the first output, and the number of outputs."""
        first_ms, count = 0.0, 0
        with self._creating:
            started_at = time.monotonic()
            url = self.create(TEXT_MODEL)[1]["urls"]["stream"]
        with self._session.get(url, stream=True, timeout=_TIMEOUT_SECONDS) as response:
            response.raise_for_status()
            for line in response.iter_lines(chunk_size=None):
                if line == b"event: output":
                    first_ms = first_ms or (time.monotonic() - started_at) * 1000
                    count += 1
        return first_ms, count


def main() -> int:
    """Measure and record. Return 0, whether or not the targets are met."""
    with run_warm_stack() as generator:
        proxy = StreamReader(generator.stack.api_url, generator.stack.api_key)
        direct = StreamReader(generator.stack.simulator_url, generator.simulator.token)
        # What they stream is known from here on.
        for model in _INPUTS:
            generator.wait_for_end(0.0, proxy.create(model)[1]["id"])
        _measure_first_token(proxy, direct)
        _measure_creates(generator, proxy)
        _measure_simultaneous(generator, proxy, direct)
    return 0


def _measure_first_token(proxy: StreamReader, direct: StreamReader) -> None:
    proxy_ms = [proxy.measure_first_token()[0] for _ in range(RUNS)]
    direct_ms = [direct.measure_first_token()[0] for _ in range(RUNS)]
    added_ms = round(median(proxy_ms) - median(direct_ms))
    record_result("stream_first_token.direct_p50", round(median(direct_ms)), "ms")
    record_result("stream_first_token.proxy_p50", round(median(proxy_ms)), "ms")
    target, met = f"<= {MAX_ADDED_MS}", added_ms <= MAX_ADDED_MS
    record_result("stream_first_token.added_p50", added_ms, "ms", target, met)


def _measure_creates(generator: LoadGenerator, proxy: StreamReader) -> None:
    """Measure what a create takes of a model that streams text, files, and nothing: only the first waits."""
    for name, model in (("text", TEXT_MODEL), ("files", FILE_MODEL), ("none", OTHER_MODEL)):
        milliseconds = []
        for _ in range(RUNS):
            create_ms, created = proxy.create(model)
            milliseconds.append(create_ms)
            generator.wait_for_end(0.0, created["id"], poll_seconds=0.1)
        record_result(f"create_with_stream_of_{name}.p50", round(median(milliseconds)), "ms")


def _measure_simultaneous(generator: LoadGenerator, proxy: StreamReader, direct: StreamReader) -> None:
    """Open many streams, which last until all are open."""
    generator.simulator.change_settings(latency=_LONG_RUN_SECONDS)
    for name, reader in (("proxy", proxy), ("direct", direct)):
        with ThreadPoolExecutor(SIMULTANEOUS) as executor:
            results = list(executor.map(lambda _, own=reader: own.measure_first_token(), range(SIMULTANEOUS)))
        first_ms = [first for first, _ in results]
        complete = sum(count == _INPUTS[TEXT_MODEL]["max_tokens"] for _, count in results)
        target = f"= {SIMULTANEOUS}"
        record_result(
            f"{SIMULTANEOUS}_streams.{name}_complete", complete, "streams", target, complete == SIMULTANEOUS
        )
        record_result(
            f"{SIMULTANEOUS}_streams.{name}_first_token.p99", round(calculate_quantile(first_ms, 0.99)), "ms"
        )


if __name__ == "__main__":
    sys.exit(main())
