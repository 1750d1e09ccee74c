"""The operations of API Gateway on API keys and usage plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from tools.simulation.aws.calls import Service, operation, refuse_unknown
from tools.simulation.aws.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tools.simulation.aws.calls import Parameters, Response


class _NotFoundError(ClientError):
    """What boto3 raises for NotFoundException, as `client.exceptions.NotFoundException`."""


class _Exceptions:
    """The exception classes of the client that adapters catch."""

    NotFoundException = _NotFoundError


class InMemoryApiGateway(Service):
    """API keys and usage plans by ID. `on_flush` is called when the cache of the authorizer is flushed."""

    name = "apigateway"
    pages = {"get_usage_plans": lambda _parameters, _page: None}  # noqa: RUF012 - constant; one page holds all

    def __init__(self) -> None:
        self.on_flush: Callable[[], None] = lambda: None
        self.keys: dict[str, dict[str, Any]] = {}
        self.plans: dict[str, dict[str, Any]] = {}
        self.plan_of_key: dict[str, str] = {}
        self._id_count = 0

    @operation("name", "value", "enabled", is_write=True)
    def create_api_key(self, parameters: Parameters) -> Response:
        if any(key["value"] == parameters["value"] for key in self.keys.values()):
            raise RejectedError("ConflictException", "API Key already exists", status=409)
        key = {"id": self._new_id("key"), **parameters}
        self.keys[key["id"]] = key
        return dict(key)

    @operation("apiKey", is_write=True)
    def delete_api_key(self, parameters: Parameters) -> Response:
        if parameters["apiKey"] not in self.keys:
            raise _not_found("Invalid API Key identifier specified")
        del self.keys[parameters["apiKey"]]
        self.plan_of_key.pop(parameters["apiKey"], None)
        return {}

    @operation("usagePlanId", "keyId", "keyType", is_write=True)
    def create_usage_plan_key(self, parameters: Parameters) -> Response:
        if parameters["usagePlanId"] not in self.plans:
            raise _not_found("Invalid Usage Plan ID specified")
        if parameters["keyId"] not in self.keys:
            raise _not_found("Invalid API Key identifier specified")
        self.plan_of_key[parameters["keyId"]] = parameters["usagePlanId"]
        return {"id": parameters["keyId"], "type": parameters["keyType"]}

    @operation("name", optional=("apiStages", "quota", "throttle"), is_write=True)
    def create_usage_plan(self, parameters: Parameters) -> Response:
        plan = {"id": self._new_id("plan"), "apiStages": [], **parameters}
        self.plans[plan["id"]] = plan
        return dict(plan)

    @operation()
    def get_usage_plans(self, parameters: Parameters) -> Response:
        del parameters
        return {"items": [dict(plan) for plan in self.plans.values()]}

    @operation("usagePlanId", "patchOperations", is_write=True)
    def update_usage_plan(self, parameters: Parameters) -> Response:
        plan = self.plans.get(parameters["usagePlanId"])
        if plan is None:
            raise _not_found("Invalid Usage Plan ID specified")
        for patch in parameters["patchOperations"]:
            refuse_unknown(patch, "op", "path", "value", place="patchOperations")
            if (patch["op"], patch["path"]) != ("add", "/apiStages"):
                raise NotImplementedError(f"the in-memory API Gateway does not handle the patch {patch}")
            api_id, _, stage = patch["value"].partition(":")
            plan["apiStages"] = [*plan["apiStages"], {"apiId": api_id, "stage": stage}]
        return dict(plan)

    @operation("restApiId", "stageName", is_write=True)
    def flush_stage_authorizers_cache(self, parameters: Parameters) -> Response:
        del parameters
        self.on_flush()
        return {}

    def local_methods(self) -> Mapping[str, Callable[..., Any]]:
        return {"exceptions": _Exceptions}

    def _new_id(self, kind: str) -> str:
        self._id_count += 1
        return f"{kind}{self._id_count}"


def _not_found(message: str) -> RejectedError:
    return RejectedError("NotFoundException", message, status=404, error_class=_NotFoundError)
