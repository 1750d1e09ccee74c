"""Adapt a built template to the emulator, so that template.yaml contains nothing for the local stack.

Like `tools.release.gradual`, it changes the parsed template: it adds what the emulator needs, and removes
what the emulator rejects or interprets in another way than AWS.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cfn_flip import load_yaml

type Template = dict[str, Any]

# The emulator speaks plain HTTP and does not know the account of a caller.
_UNSUPPORTED_DENIALS = {"TlsOnly", "OwnAccountOnly"}
_UNSUPPORTED_TYPES = {"AWS::CloudFront::PublicKey", "AWS::CloudFront::KeyGroup"}
_BATCHABLE_ACTIONS = {"sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"}
_STREAM_ACTION = "dynamodb:GetRecords"


def write_local_template(
    built: Path,
    target: Path,
    *,
    settings: Mapping[str, Any],
    layer: Path,
    physical_ids: Mapping[str, str] | None = None,
) -> Template:
    """Write the template that `sam build` left at `built` to `target`, and return what was written.

    `target` must be in the same folder. It is JSON, which is read in a fraction of the time. `physical_ids`:
    see `localize_template`.
    """
    template = localize_template(load_yaml(built.read_text("utf-8")), settings, physical_ids)
    template["Resources"]["CommonLayer"]["Properties"]["ContentUri"] = str(layer)
    target.write_text(json.dumps(template), "utf-8")
    return template


def localize_template(
    template: Template, settings: Mapping[str, Any], physical_ids: Mapping[str, str] | None = None
) -> Template:
    """Change the template in place and return it; `settings` go to every function as LOCAL_SETTINGS.

    `physical_ids` are those of resources that CloudFormation does not create here, by logical ID.
    """
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    variables["LOCAL_SETTINGS"] = json.dumps(settings, separators=(",", ":"))
    # The local Replicate lists a prediction at once.
    template["Parameters"]["ResubmitAfterSeconds"]["MinValue"] = 1
    _remove_unsupported_denials(template)
    _disable_authorizer_cache(template)
    _add_gateway_responses(template)
    _add_stable_address(template)
    _adapt_policies(template)
    _remove_unsupported_resources(template, physical_ids or {})
    return template


def _remove_unsupported_denials(template: Template) -> None:
    document = template["Resources"]["DataBucketPolicy"]["Properties"]["PolicyDocument"]
    document["Statement"] = [
        statement for statement in document["Statement"] if statement["Sid"] not in _UNSUPPORTED_DENIALS
    ]


def _remove_unsupported_resources(template: Template, physical_ids: Mapping[str, str]) -> None:
    """Remove resources that the emulator's CloudFormation rejects; references to them become their IDs."""
    resources = template["Resources"]
    removed = [name for name, resource in resources.items() if resource["Type"] in _UNSUPPORTED_TYPES]
    for name in removed:
        del resources[name]
    ids = {name: physical_ids.get(name, "") for name in removed}
    template["Resources"] = _replace_references(resources, ids)


def _replace_references(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"Ref"} and value["Ref"] in ids:
            return ids[value["Ref"]]
        return {name: _replace_references(part, ids) for name, part in value.items()}
    return [_replace_references(part, ids) for part in value] if isinstance(value, list) else value


def _disable_authorizer_cache(template: Template) -> None:
    """Have each call authorized: the emulator lacks the caller's address in the cache key, and denies all."""
    authorizers = template["Resources"]["Api"]["Properties"]["Auth"]["Authorizers"]
    authorizers["Keys"]["Identity"]["ReauthorizeEvery"] = 0


def _add_gateway_responses(template: Template) -> None:
    """Add a resource for each gateway response, which the emulator ignores as a property of the API.

    It creates resources in alphabetical order, and the deployment contains only what exists by then.
    """
    for name, response in template["Resources"]["Api"]["Properties"]["GatewayResponses"].items():
        headers = response["ResponseParameters"]["Headers"]
        properties = {
            "RestApiId": {"Ref": "Api"},
            "ResponseType": name,
            "ResponseParameters": {f"gatewayresponse.header.{key}": value for key, value in headers.items()},
            "ResponseTemplates": response["ResponseTemplates"],
        }
        if "StatusCode" in response:
            properties["StatusCode"] = str(response["StatusCode"])
        template["Resources"][f"Api0{name.title().replace('_', '')}"] = {
            "Type": "AWS::ApiGateway::GatewayResponse",
            "Properties": properties,
        }


def _add_stable_address(template: Template) -> None:
    """Add a custom domain: http://127.0.0.1:<port>/<Stage> stays when the API gets another ID."""
    template["Resources"]["LocalDomain"] = {
        "Type": "AWS::ApiGateway::DomainName",
        "Properties": {
            "DomainName": "127.0.0.1",
            "RegionalCertificateArn": {
                "Fn::Sub": "arn:${AWS::Partition}:acm:${AWS::Region}:${AWS::AccountId}:certificate/local"
            },
            "EndpointConfiguration": {"Types": ["REGIONAL"]},
        },
    }
    template["Resources"]["LocalBasePathMapping"] = {
        "Type": "AWS::ApiGateway::BasePathMapping",
        "Properties": {
            "DomainName": {"Ref": "LocalDomain"},
            "RestApiId": {"Ref": "Api"},
            "Stage": {"Ref": "Api.Stage"},
            "BasePath": {"Ref": "Stage"},
        },
    }


def _adapt_policies(template: Template) -> None:
    """Allow what AWS allows with the same policies and the emulator does not.

    sqs:SendMessage includes SendMessageBatch (Amazon SQS Developer Guide, "Amazon SQS API permissions"); here
    it does not. And the emulator does not know to which table a stream belongs, so no table can be excepted.
    """
    for resource in template["Resources"].values():
        for document in _find_policy_documents(resource):
            document["Statement"] = [one for one in document["Statement"] if not _denies_streams(one)]
            for statement in _list_statements(document["Statement"]):
                _allow_batches(statement)


def _find_policy_documents(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the policies with statements: those of a function, or a managed policy."""
    match resource["Type"]:
        case "AWS::Serverless::Function":
            policies = resource["Properties"]["Policies"]
            return [policy for policy in policies if isinstance(policy, dict) and "Statement" in policy]
        case "AWS::IAM::ManagedPolicy":
            return [resource["Properties"]["PolicyDocument"]]
    return []


def _list_statements(parts: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the statements of a policy, those of both branches of a condition."""
    for part in parts:
        branches = part["Fn::If"][1:] if "Fn::If" in part else [part]
        yield from (branch for branch in branches if "Action" in branch)


def _denies_streams(statement: dict[str, Any]) -> bool:
    return statement.get("Effect") == "Deny" and _STREAM_ACTION in statement["Action"]


def _allow_batches(statement: dict[str, Any]) -> None:
    actions = [statement["Action"]] if isinstance(statement["Action"], str) else list(statement["Action"])
    batch_actions = [f"{name}Batch" for name in actions if name in _BATCHABLE_ACTIONS]
    if batch_actions and statement["Effect"] == "Allow":
        statement["Action"] = actions + batch_actions
