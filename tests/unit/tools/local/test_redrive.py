"""The deployment that `make redrive` works on."""

import pytest

from replicate_proxy.errors import ConfigurationError
from tools.local import redrive
from tools.local.__main__ import main
from tools.local.paths import StackFolder


def test_connect_uses_deployment_of_environment() -> None:
    client = redrive.create_admin_client(
        {"REPLICATE_PROXY_URL": "https://api.example/prod/", "REPLICATE_PROXY_ADMIN_KEY": "rp_operator"},
        StackFolder(),
    )

    assert client._url == "https://api.example/prod"


@pytest.mark.parametrize(
    ("name", "missing_name"),
    [
        ("REPLICATE_PROXY_URL", "REPLICATE_PROXY_ADMIN_KEY"),
        ("REPLICATE_PROXY_ADMIN_KEY", "REPLICATE_PROXY_URL"),
    ],
)
def test_connect_names_missing_variable_when_only_one_is_set(name: str, missing_name: str) -> None:
    with pytest.raises(ConfigurationError, match=missing_name):
        redrive.create_admin_client({name: "x"}, StackFolder())


def test_main_suggests_make_up_when_no_stack_is_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REPLICATE_PROXY_URL", raising=False)
    monkeypatch.delenv("REPLICATE_PROXY_ADMIN_KEY", raising=False)

    assert main(["--name", "no-such-stack", "redrive"]) == 1
    assert "make up LOCAL_STACK=no-such-stack" in capsys.readouterr().err
