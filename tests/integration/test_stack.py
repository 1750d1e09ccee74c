"""The stack itself: up, whole, and heard."""

import requests

from tests.integration.conftest import FOLDER, PARAMETERS
from tools.local import servers
from tools.local.lifecycle import start_stack
from tools.local.screen import Screen
from tools.local.stack import Stack
from tools.local.status import count_messages


def test_stack_file_tells_all_that_a_tool_needs(stack: Stack) -> None:
    assert Stack.load(FOLDER) == stack
    assert requests.get(f"{stack.api_url}/health", timeout=30).json()["status"] == "ok"


def test_up_again_changes_nothing(stack: Stack) -> None:
    generations = [server.daemon.generation for server in servers.list_servers(FOLDER)]

    assert start_stack(FOLDER, Screen(), PARAMETERS) == stack
    assert [server.daemon.generation for server in servers.list_servers(FOLDER)] == generations


def test_up_heals_a_server_that_died(stack: Stack) -> None:
    servers.get_output_server(FOLDER).stop()

    healed = start_stack(FOLDER, Screen(), PARAMETERS)

    assert servers.get_output_server(FOLDER).url == healed.cdn_url == stack.cdn_url


def test_key_is_needed_and_enough(stack: Stack) -> None:
    address = f"{stack.api_url}/v1/predictions"
    with_key = requests.get(address, headers={"Authorization": f"Bearer {stack.api_key}"}, timeout=30)

    assert requests.get(address, timeout=30).status_code == 401
    assert with_key.status_code == 200


def test_every_function_and_queue_of_the_template_is_there(stack: Stack) -> None:
    lambdas, sqs = stack.get_client("lambda"), stack.get_client("sqs")
    for name in stack.function_names.values():
        assert lambdas.get_function_configuration(FunctionName=name)["Runtime"] == "python3.13"
    for output in (name for name in stack.outputs if name.endswith("QueueUrl")):
        assert count_messages(sqs, stack.outputs[output])[0] >= 0


def test_tables_expire_and_recover_as_the_template_says(stack: Stack) -> None:
    dynamodb = stack.get_client("dynamodb")
    for output in (name for name in stack.outputs if name.endswith("TableName")):
        table = stack.outputs[output]
        ttl = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        backups = dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
        recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
        assert (ttl["TimeToLiveStatus"], ttl["AttributeName"], recovery) == (
            "ENABLED",
            "expires_at",
            "ENABLED",
        )


def test_output_front_ignores_credentials_and_hides_everything_else(stack: Stack) -> None:
    bucket = stack.outputs["DataBucketName"]
    s3 = stack.get_client("s3")
    s3.put_object(Bucket=bucket, Key="outputs/probe.txt", Body=b"hello", ContentType="text/plain")
    s3.put_object(Bucket=bucket, Key="inputs/secret.txt", Body=b"not yours")
    bearer = {"Authorization": f"Bearer {stack.api_key}"}

    served = requests.get(f"{stack.cdn_url}/outputs/probe.txt", headers=bearer, timeout=30)
    hidden = requests.get(f"{stack.cdn_url}/inputs/secret.txt", headers=bearer, timeout=30)

    assert (served.status_code, served.content) == (200, b"hello")
    assert hidden.status_code in {403, 404}
