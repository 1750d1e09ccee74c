"""Handler of the admin function: the admin API, and the hourly upkeep of Replicate's secrets and accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.actor import handle_as_actor
from replicate_proxy.bootstrap.admin import (
    build_account_service,
    build_router,
    build_webhook_secret_refresher,
)
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from replicate_proxy.api.http import Response


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Response | None:
    """Handle a request of API Gateway, or the event of the schedule."""
    if event.get("source") == "aws.events":
        if event.get("task") == "maintain-accounts":
            build_account_service().maintain()
        else:
            build_webhook_secret_refresher().refresh()
        return None
    authorizer = (event.get("requestContext") or {}).get("authorizer") or {}
    logger.append_keys(operator_key_id=authorizer.get("key_id"))
    return handle_as_actor(build_router(), event)
