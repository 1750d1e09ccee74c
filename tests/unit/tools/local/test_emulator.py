from tools.local.emulator import build_tool_environment


def test_tools_get_only_address_and_credentials_of_the_emulator() -> None:
    environment = build_tool_environment("http://127.0.0.1:4566")

    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert (environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]) == ("test", "test")
    assert environment["AWS_SHARED_CREDENTIALS_FILE"] == environment["AWS_CONFIG_FILE"] == "/dev/null"
