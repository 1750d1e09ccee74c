"""Which deployment `make redrive` talks to."""

import pytest

from tools.local import redrive
from tools.local.errors import LocalError
from tools.local.home import Home


def test_the_deployment_that_the_variables_name() -> None:
    client = redrive.connect(
        {"REPLICATE_PROXY_URL": "https://api.example/prod/", "REPLICATE_PROXY_ADMIN_KEY": "rp_operator"}
    )

    assert client._url == "https://api.example/prod"


@pytest.mark.parametrize("name", ["REPLICATE_PROXY_URL", "REPLICATE_PROXY_ADMIN_KEY"])
def test_one_variable_alone_is_a_mistake_that_is_told(name: str) -> None:
    with pytest.raises(LocalError, match="go together"):
        redrive.connect({name: "x"})


def test_without_a_deployment_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(redrive, "Home", lambda: Home("no-such-stack"))
    monkeypatch.delenv("REPLICATE_PROXY_URL", raising=False)
    monkeypatch.delenv("REPLICATE_PROXY_ADMIN_KEY", raising=False)

    assert redrive.main([]) == 1
    assert "make up" in capsys.readouterr().err
