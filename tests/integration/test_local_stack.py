"""The local stack itself."""

import requests

from tests.integration.conftest import FOLDER, PARAMETERS
from tools.local.lifecycle import start_stack
from tools.local.screen import Screen
from tools.local.servers import get_output_server, list_servers
from tools.local.stack import Stack
from tools.local.status import count_messages


def test_stack_file_describes_the_running_stack(stack: Stack) -> None:
    assert Stack.load(FOLDER) == stack
    assert requests.get(f"{stack.api_url}/health", timeout=30).json()["status"] == "ok"


def test_second_start_changes_nothing(stack: Stack) -> None:
    generations = [server.daemon.generation for server in list_servers(FOLDER)]

    assert start_stack(FOLDER, Screen(), PARAMETERS) == stack
    assert [server.daemon.generation for server in list_servers(FOLDER)] == generations


def test_start_restarts_a_stopped_server_at_the_same_address(stack: Stack) -> None:
    get_output_server(FOLDER).stop()

    restarted = start_stack(FOLDER, Screen(), PARAMETERS)

    assert get_output_server(FOLDER).url == restarted.cdn_url == stack.cdn_url


def test_api_requires_a_key_only(stack: Stack) -> None:
    url = f"{stack.api_url}/v1/predictions"
    with_key = requests.get(url, headers={"Authorization": f"Bearer {stack.api_key}"}, timeout=30)

    assert requests.get(url, timeout=30).status_code == 401
    assert with_key.status_code == 200


def test_every_function_and_queue_of_the_template_exists(stack: Stack) -> None:
    lambda_client, sqs = stack.get_client("lambda"), stack.get_client("sqs")
    for name in stack.function_names.values():
        assert lambda_client.get_function_configuration(FunctionName=name)["Runtime"] == "python3.13"
    for output in (name for name in stack.outputs if name.endswith("QueueUrl")):
        assert count_messages(sqs, stack.outputs[output]).waiting >= 0


def test_tables_have_time_to_live_and_point_in_time_recovery(stack: Stack) -> None:
    dynamodb = stack.get_client("dynamodb")
    for output in (name for name in stack.outputs if name.endswith("TableName")):
        table = stack.outputs[output]
        ttl = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        backups = dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
        recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
        if output != "AuditTableName":  # records of the audit trail are kept for good
            assert ttl["TimeToLiveStatus"] == "ENABLED"
            assert ttl["AttributeName"] == "expires_at"
        assert recovery == "ENABLED"


def test_output_server_ignores_credentials_and_serves_outputs_only(stack: Stack) -> None:
    bucket = stack.outputs["DataBucketName"]
    s3 = stack.get_client("s3")
    s3.put_object(Bucket=bucket, Key="outputs/probe.txt", Body=b"hello", ContentType="text/plain")
    s3.put_object(Bucket=bucket, Key="inputs/secret.txt", Body=b"not yours")
    headers = {"Authorization": f"Bearer {stack.api_key}"}

    output = requests.get(f"{stack.cdn_url}/outputs/probe.txt", headers=headers, timeout=30)
    other_object = requests.get(f"{stack.cdn_url}/inputs/secret.txt", headers=headers, timeout=30)

    assert (output.status_code, output.content) == (200, b"hello")
    assert other_object.status_code in {403, 404}
