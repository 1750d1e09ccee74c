"""The templates as they are deployed to the local stack."""

from __future__ import annotations

from replicate_proxy.settings import RESUBMIT_AFTER_SECONDS
from tests.template.rules.api import get_definition
from tests.template.rules.permissions import iterate_allow_statements
from tests.template.variants import load_variant
from tools.local.faults import AWS_EXEMPT_FUNCTIONS
from tools.template.stack import STACK_NAME, load_stack, referenced_id


def test_local_stack_has_no_nested_stacks() -> None:
    assert load_variant("local").of_type("CloudFormation::Stack") == []


def test_local_stack_has_a_stable_address() -> None:
    (domain,) = load_variant("local").of_type("ApiGateway::DomainName")

    assert domain.properties["DomainName"] == "127.0.0.1"


def test_every_function_receives_the_local_settings() -> None:
    functions = load_variant("local").of_type("Lambda::Function")
    settings = {function.properties["Environment"]["Variables"]["LOCAL_SETTINGS"] for function in functions}

    assert settings == {'{"allow_loopback":true}'}


def test_functions_that_read_the_stream_have_no_aws_faults() -> None:
    stack = load_stack()
    readers = {
        stack.resources[referenced_id(mapping.properties["FunctionName"])].properties["FunctionName"]
        for mapping in stack.of_type("Lambda::EventSourceMapping")
        if "StartingPosition" in mapping.properties
    }

    assert {f"{STACK_NAME}{end}" for end in AWS_EXEMPT_FUNCTIONS} == readers


def test_gateway_responses_are_resources_with_the_same_content() -> None:
    stack = load_variant("local")
    resources = {
        resource.properties["ResponseType"]: resource
        for resource in stack.of_type("ApiGateway::GatewayResponse")
    }
    responses = get_definition(stack)["x-amazon-apigateway-gateway-responses"]

    assert resources.keys() == responses.keys()
    for name, response in responses.items():
        properties = resources[name].properties
        assert properties["ResponseTemplates"] == response["responseTemplates"]
        assert properties["ResponseParameters"] == response["responseParameters"]
        assert properties.get("StatusCode") == response.get("statusCode")


def test_gateway_responses_are_created_before_the_deployment() -> None:
    """The emulator creates resources in alphabetical order."""
    responses = load_variant("local").of_type("ApiGateway::GatewayResponse")

    assert responses
    assert all(response.id < "ApiDeployment" for response in responses)


def test_bucket_policy_lets_the_emulator_read_and_write_without_tls() -> None:
    def get_statements(stack_name: str) -> set[str]:
        stack = load_variant(stack_name)
        policy = stack.resources["DataBucketPolicy"].properties["PolicyDocument"]
        return {statement["Sid"] for statement in policy["Statement"]}

    assert get_statements("default") - get_statements("local") == {"TlsOnly", "OwnAccountOnly"}


def test_roles_allow_batches_where_they_allow_single_messages() -> None:
    local, aws = load_variant("local"), load_stack()
    added = {
        (name, action)
        for name, statement in iterate_allow_statements(local)
        for action in statement["Action"]
        if isinstance(statement["Action"], list)
    } - {
        (name, action)
        for name, statement in iterate_allow_statements(aws)
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }

    assert ("TrackFunctionRole", "sqs:ChangeMessageVisibilityBatch") in added
    assert ("OperatorPolicy", "sqs:ChangeMessageVisibilityBatch") in added
    assert all(action.startswith("sqs:") and action.endswith("Batch") for _, action in added)


def test_local_stack_may_send_again_sooner_than_a_stack_on_aws() -> None:
    on_aws, locally = (
        load_variant(name).template["Parameters"]["ResubmitAfterSeconds"]["MinValue"]
        for name in ("default", "local")
    )

    assert on_aws == RESUBMIT_AFTER_SECONDS.min_on_aws
    assert locally == 1
