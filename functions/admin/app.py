"""Handler of the admin function: the admin API, bulk operations, erasures, and accounts at Replicate."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.actor import handle_as_actor
from replicate_proxy.bootstrap.admin import (
    build_account_service,
    build_bulk_worker,
    build_router,
    build_webhook_secret_refresher,
)
from replicate_proxy.bootstrap.bulk_worker import CONTINUE_BULK_OPERATIONS
from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.bootstrap.erasure import build_erasure_worker
from replicate_proxy.observability import logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from replicate_proxy.api.http import Response

# Time for the action on one job, or the secret of one account, which is not interrupted.
_RESERVED_TIME = timedelta(seconds=8)


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Response | None:
    """Handle a request of API Gateway, the event of a schedule, or the sweep's call to work."""
    if "task" in event or event.get("source") == "aws.events":
        _run_task(event.get("task"), context)
        return None
    authorizer = (event.get("requestContext") or {}).get("authorizer") or {}
    logger.append_keys(operator_key_id=authorizer.get("key_id"))
    return handle_as_actor(build_router(), event)


def _run_task(task: str | None, context: LambdaContext) -> None:
    now = clock.now()
    end = now + timedelta(milliseconds=context.get_remaining_time_in_millis())
    deadline = end - _RESERVED_TIME
    if task == CONTINUE_BULK_OPERATIONS:
        # Either has half of the time, and what the other leaves.
        build_erasure_worker().run(now + (deadline - now) / 2, lease_until=end)
        build_bulk_worker().run(deadline, lease_until=end)
    elif task == "maintain-accounts":
        build_account_service().maintain(deadline)
    else:
        build_webhook_secret_refresher().refresh()
