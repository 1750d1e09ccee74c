import pytest

from tools.local import configuration
from tools.local.errors import LocalError
from tools.simulator.client import run_simulator

LOCAL = "http://127.0.0.1:8787"


def test_without_token_the_local_replicate_calls_back() -> None:
    chosen = configuration.choose_upstream({}, LOCAL)

    assert (chosen.url, chosen.webhooks_enabled, chosen.output_hosts) == (LOCAL, True, "127.0.0.1")


def test_a_token_means_replicate_itself_which_is_polled() -> None:
    chosen = configuration.choose_upstream({"REPLICATE_API_TOKEN": "r8_mine"}, LOCAL)

    assert (chosen.url, chosen.webhooks_enabled, chosen.token) == (
        "https://api.replicate.com",
        False,
        "r8_mine",
    )
    assert chosen.output_hosts == "replicate.delivery,*.replicate.delivery"
    assert chosen.fetch_webhook_secret().startswith("whsec_")


def test_a_token_is_never_shown() -> None:
    assert "r8_mine" not in repr(configuration.choose_upstream({"REPLICATE_API_TOKEN": "r8_mine"}, LOCAL))


@pytest.mark.parametrize(
    "address", ["https://other.example/v1", "https://other.example/", "https://other.example"]
)
def test_any_other_upstream_by_address(address: str) -> None:
    assert (
        configuration.choose_upstream({"REPLICATE_API_BASE_URL": address}, LOCAL).url
        == "https://other.example"
    )


def test_an_address_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(LocalError, match="REPLICATE_API_BASE_URL"):
        configuration.choose_upstream({"REPLICATE_API_BASE_URL": "example.com"}, LOCAL)


def test_webhook_secret_is_asked_of_the_upstream() -> None:
    with run_simulator() as replicate:
        assert (
            configuration.choose_upstream({}, replicate.url).fetch_webhook_secret()
            == replicate.webhook_secret
        )


def test_an_upstream_that_does_not_answer_is_named() -> None:
    with pytest.raises(LocalError, match="does not tell its webhook secret"):
        configuration.choose_upstream({}, "http://127.0.0.1:9").fetch_webhook_secret()
