from tools.local import emulator, processes


def test_nothing_of_the_users_aws_reaches_a_started_program() -> None:
    users = {
        "PATH": "/bin",
        "AWS_PROFILE": "production",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_ENDPOINT_URL": "https://elsewhere",
        "AWS_CA_BUNDLE": "/etc/ca.pem",
        "REPLICATE_API_TOKEN": "r8_real",
        "PYTHONPATH": "/somewhere",
    }

    assert processes.clean_environment(users) == {"PATH": "/bin", "AWS_CA_BUNDLE": "/etc/ca.pem"}


def test_aws_tools_get_the_emulator_and_its_made_up_account() -> None:
    given = emulator.build_tool_environment("http://127.0.0.1:4566")

    assert given["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert (given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"]) == ("test", "test")
    assert given["AWS_SHARED_CREDENTIALS_FILE"] == given["AWS_CONFIG_FILE"] == "/dev/null"
