"""X-Ray subsegments for the invocations that X-Ray samples; the others do not even load its SDK.

Powertools' Tracer imports the SDK when it is made, a quarter of a second of every cold start, while X-Ray
samples about one request in twenty (AWS X-Ray, sampling rules). Lambda says in `_X_AMZN_TRACE_ID` whether it
sampled this one, and records the function's own segment either way.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from aws_lambda_powertools import Tracer

__all__ = ["SampledTracer"]


class SampledTracer:
    """Decorators with the names and meaning of Powertools' own; responses are never captured."""

    def capture_lambda_handler[**P, R](self, handler: Callable[P, R]) -> Callable[P, R]:
        """Around the function's handler."""
        return self._where_sampled(
            handler, lambda: _tracer().capture_lambda_handler(handler, capture_response=False)
        )

    def capture_method[**P, R](self, method: Callable[P, R]) -> Callable[P, R]:
        """Around one step."""
        return self._where_sampled(method, lambda: _tracer().capture_method(capture_response=False)(method))

    def _where_sampled[**P, R](self, plain: Callable[P, R], traced: Callable[[], Any]) -> Callable[P, R]:
        made = functools.cache(traced)

        @functools.wraps(plain)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not _is_sampled():
                return plain(*args, **kwargs)
            result: R = made()(*args, **kwargs)
            return result

        return call


def _is_sampled() -> bool:
    return "Sampled=1" in os.environ.get("_X_AMZN_TRACE_ID", "")


@functools.cache
def _tracer() -> Tracer:
    from aws_lambda_powertools import Tracer  # noqa: PLC0415 - the point of this module

    return Tracer()
