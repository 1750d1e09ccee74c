"""Handler of the console function: the pages below `/console`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from replicate_proxy.bootstrap.console import build_router
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from replicate_proxy.api.http import Response


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Response:
    return build_router(Path(__file__).parent).handle(event)
