from pathlib import Path

from cfn_flip import load_yaml

from tools.local.configuration import build_parameters, build_settings, choose_upstream
from tools.local.paths import ROOT


def _build() -> dict[str, str]:
    return build_parameters(
        endpoint_url="http://127.0.0.1:4566",
        cdn_url="http://127.0.0.1:5000",
        upstream=choose_upstream({}, "http://127.0.0.1:8787"),
    )


def test_parameters_exist_in_the_template() -> None:
    template = load_yaml((ROOT / "template.yaml").read_text(encoding="utf-8"))

    assert set(_build()) <= set(template["Parameters"])


def test_urls_for_clients_webhooks_and_outputs_are_on_loopback() -> None:
    parameters = _build()

    assert parameters["PublicBaseUrl"] == parameters["WebhookBaseUrl"] == "http://127.0.0.1:4566/local"
    assert parameters["OutputsBaseUrl"] == "http://127.0.0.1:5000"


def test_settings_name_the_files_that_steer_the_functions() -> None:
    settings = build_settings(faults_file=Path("/stack/faults.json"), clock_offset_file=Path("/stack/clock"))

    assert settings == {
        "allow_loopback": True,
        "faults_file": "/stack/faults.json",
        "clock_offset_file": "/stack/clock",
    }
