from pathlib import Path

import pytest
from cfn_flip import load_yaml

from tools.local.configuration import build_parameters, build_settings, choose_upstream
from tools.local.errors import LocalError
from tools.local.paths import ROOT
from tools.simulator.client import run_simulator

SIMULATOR_URL = "http://127.0.0.1:8787"


def test_upstream_without_token_is_the_simulator_with_webhooks() -> None:
    upstream = choose_upstream({}, SIMULATOR_URL)

    assert upstream.url == SIMULATOR_URL
    assert upstream.webhooks_enabled is True
    assert upstream.output_hosts == "127.0.0.1"


def test_upstream_with_token_is_replicate_without_webhooks() -> None:
    upstream = choose_upstream({"REPLICATE_API_TOKEN": "r8_mine"}, SIMULATOR_URL)

    assert upstream.url == "https://api.replicate.com"
    assert upstream.webhooks_enabled is False
    assert upstream.token == "r8_mine"
    assert upstream.output_hosts == "replicate.delivery,*.replicate.delivery"
    assert upstream.fetch_webhook_secret().startswith("whsec_")


def test_representation_of_upstream_hides_the_token() -> None:
    assert "r8_mine" not in repr(choose_upstream({"REPLICATE_API_TOKEN": "r8_mine"}, SIMULATOR_URL))


@pytest.mark.parametrize(
    "url", ["https://other.example/v1", "https://other.example/", "https://other.example"]
)
def test_base_url_selects_another_upstream(url: str) -> None:
    assert choose_upstream({"REPLICATE_API_BASE_URL": url}, SIMULATOR_URL).url == "https://other.example"


def test_error_names_the_variable_when_base_url_has_no_scheme() -> None:
    with pytest.raises(LocalError, match="REPLICATE_API_BASE_URL"):
        choose_upstream({"REPLICATE_API_BASE_URL": "example.com"}, SIMULATOR_URL)


def test_webhook_secret_is_fetched_from_the_upstream() -> None:
    with run_simulator() as simulator:
        assert choose_upstream({}, simulator.url).fetch_webhook_secret() == simulator.webhook_secret


def test_error_names_the_upstream_when_it_does_not_respond() -> None:
    with pytest.raises(LocalError, match=r"cannot fetch the webhook secret of http://127\.0\.0\.1:9"):
        choose_upstream({}, "http://127.0.0.1:9").fetch_webhook_secret()


def test_parameters_exist_in_the_template() -> None:
    template = load_yaml((ROOT / "template.yaml").read_text(encoding="utf-8"))

    assert set(_build_parameters()) <= set(template["Parameters"])


def test_urls_for_clients_webhooks_and_outputs_are_on_loopback() -> None:
    parameters = _build_parameters()

    assert parameters["PublicBaseUrl"] == parameters["WebhookBaseUrl"] == "http://127.0.0.1:4566/local"
    assert parameters["OutputsBaseUrl"] == "http://127.0.0.1:5000"


def test_settings_name_the_files_that_control_the_functions() -> None:
    settings = build_settings(faults_file=Path("/stack/faults.json"), clock_offset_file=Path("/stack/clock"))

    assert settings == {
        "allow_loopback": True,
        "faults_file": "/stack/faults.json",
        "clock_offset_file": "/stack/clock",
    }


def _build_parameters() -> dict[str, str]:
    return build_parameters(
        endpoint_url="http://127.0.0.1:4566",
        cdn_url="http://127.0.0.1:5000",
        upstream=choose_upstream({}, SIMULATOR_URL),
        public_url_key="-----BEGIN PUBLIC KEY-----",
    )
