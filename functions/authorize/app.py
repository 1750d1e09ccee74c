"""API Gateway's Lambda authorizer: says who is calling, or that they may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.authorizer import build_allow_policy, build_deny_policy
from replicate_proxy.auth.errors import DeniedError, UnauthenticatedError
from replicate_proxy.bootstrap.authorize import build_authorizer
from replicate_proxy.observability import Metric, count, logger, metrics, tracer

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
@tracer.capture_lambda_handler
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Any other exception becomes gateway response AUTHORIZER_FAILURE, which the template turns into 503."""
    method_arn = event["methodArn"]
    source_ip = event["requestContext"]["identity"]["sourceIp"]
    try:
        grant = build_authorizer().authorize(_authorization(event), source_ip)
    except UnauthenticatedError as error:
        logger.info("caller refused", reason=str(error))
        # API Gateway answers 401 for exactly this text, and 500 for any other.
        raise Exception("Unauthorized") from None
    except DeniedError as error:
        logger.info("caller denied", reason=str(error))
        return build_deny_policy(str(error), method_arn)
    except Exception:
        # Our 401s are exceptions too, so the function's errors tell nothing: this is what the alarm watches.
        count(Metric.AUTH_UNAVAILABLE)
        raise
    logger.info("caller accepted", tenant=grant.principal.tenant, key_id=grant.principal.key_id)
    return build_allow_policy(grant, method_arn)


def _authorization(event: dict[str, Any]) -> str:
    """The header's one value; none or several (which one would the next hop read?) count as no credential."""
    sent = event.get("multiValueHeaders") or {
        name: [value] for name, value in (event.get("headers") or {}).items()
    }
    values = [value for name, values in sent.items() if name.lower() == "authorization" for value in values]
    return values[0] if len(values) == 1 else ""
