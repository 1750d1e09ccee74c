"""Handler of the authorize function: API Gateway's Lambda authorizer, which accepts or rejects callers."""

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
    """Return a policy, or raise "Unauthorized" for 401.

    Any other exception becomes the gateway response AUTHORIZER_FAILURE, which the template turns into 503.
    """
    method_arn = event["methodArn"]
    source_ip = event["requestContext"]["identity"]["sourceIp"]
    try:
        caller = build_authorizer().authorize(_read_authorization_header(event), source_ip)
    except UnauthenticatedError as error:
        logger.info("caller not authenticated", reason=str(error))
        # API Gateway responds with 401 only to exactly this text.
        raise Exception("Unauthorized") from None
    except DeniedError as error:
        logger.info("caller denied", reason=str(error))
        return build_deny_policy(str(error), method_arn)
    except Exception:
        # Our 401s are exceptions too, so the alarm watches this metric and not the function's errors.
        count(Metric.AUTH_UNAVAILABLE)
        raise
    logger.info("caller accepted", tenant=caller.principal.tenant, key_id=caller.principal.key_id)
    return build_allow_policy(caller, method_arn)


def _read_authorization_header(event: dict[str, Any]) -> str:
    """Return the value of the header, or an empty string if it is absent or repeated.

    A repeated header is ambiguous: the next server might read another of the values.
    """
    headers = event.get("multiValueHeaders") or {
        name: [value] for name, value in (event.get("headers") or {}).items()
    }
    values = [
        value for name, values in headers.items() if name.lower() == "authorization" for value in values
    ]
    return values[0] if len(values) == 1 else ""
