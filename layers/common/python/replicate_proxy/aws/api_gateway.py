"""API Gateway's usage plans and authorizer cache, through its own API.

There is one usage plan for each set of limits, shared by all keys with these limits: an account has at most
300 usage plans per region, and API Gateway counts each key by itself (AWS documentation, "Usage plans and API
keys for REST APIs").
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.observability import logger
from replicate_proxy.operations.ports import Stage, UsagePlanKey

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from types_boto3_apigateway import APIGatewayClient
    from types_boto3_apigateway.type_defs import CreateUsagePlanRequestTypeDef

    from replicate_proxy.auth.keys import UsageLimits


_RETRYABLE = frozenset({"ConflictException", "ServiceUnavailableException", "TooManyRequestsException"})


class ApiGateway:
    """The Gateway port.

    `prefix` begins the names of the deployment's plans and keys, which share the account with others.
    """

    def __init__(self, client: APIGatewayClient, *, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def create_key(self, label: str, limits: UsageLimits, stage: Stage) -> UsagePlanKey:
        with _translate_errors("add key to usage plan"):
            plan_id = self._find_or_create_plan(limits, stage)
            value = secrets.token_urlsafe(32)
            key_id = self._client.create_api_key(name=f"{self._prefix}-{label}", value=value, enabled=True)[
                "id"
            ]
            self._client.create_usage_plan_key(usagePlanId=plan_id, keyId=key_id, keyType="API_KEY")
        return UsagePlanKey(key_id, value)

    def delete_key(self, usage_key_id: str) -> None:
        with _translate_errors("remove key from usage plan"):
            try:
                self._client.delete_api_key(apiKey=usage_key_id)
            except self._client.exceptions.NotFoundException:
                logger.info("usage key already deleted", usage_key_id=usage_key_id)

    def flush_authorizer_cache(self, stage: Stage) -> bool:
        try:
            self._client.flush_stage_authorizers_cache(restApiId=stage.api_id, stageName=stage.name)
        except (BotoCoreError, ClientError) as error:
            logger.warning("cannot flush authorizer cache", reason=type(error).__name__)
            return False
        return True

    def _find_or_create_plan(self, limits: UsageLimits, stage: Stage) -> str:
        """Return the ID of the plan with these limits, which is named after them and includes the stage."""
        name = f"{self._prefix}-{limits.rate:g}rps-{limits.burst}burst-{limits.monthly_quota or 'no'}quota"
        pages = self._client.get_paginator("get_usage_plans").paginate()
        plan = next((plan for page in pages for plan in page["items"] if plan["name"] == name), None)
        if plan is None:
            return self._create_plan(name, limits, stage)
        if not any(
            entry["apiId"] == stage.api_id and entry["stage"] == stage.name for entry in plan["apiStages"]
        ):
            self._client.update_usage_plan(
                usagePlanId=plan["id"],
                patchOperations=[
                    {"op": "add", "path": "/apiStages", "value": f"{stage.api_id}:{stage.name}"}
                ],
            )
        return plan["id"]

    def _create_plan(self, name: str, limits: UsageLimits, stage: Stage) -> str:
        request: CreateUsagePlanRequestTypeDef = {
            "name": name,
            "apiStages": [{"apiId": stage.api_id, "stage": stage.name}],
            "throttle": {"rateLimit": limits.rate, "burstLimit": limits.burst},
        }
        if limits.monthly_quota:
            request["quota"] = {"limit": limits.monthly_quota, "period": "MONTH"}
        return self._client.create_usage_plan(**request)["id"]


def _translate_errors(operation: str) -> AbstractContextManager[None]:
    return translate_aws_errors(operation, retryable=_RETRYABLE)
