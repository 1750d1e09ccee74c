import json
from pathlib import Path

import yaml

from tools.local.home import ROOT
from tools.local.parameters import parameters
from tools.local.settle import _Template
from tools.local.upstream import choose


def _chosen() -> dict[str, str]:
    source = choose({}, "http://127.0.0.1:8787")
    return parameters(
        endpoint_url="http://127.0.0.1:4566",
        cdn_url="http://127.0.0.1:5000",
        upstream=source,
        faults_file=Path("/stack/faults.json"),
        clock_file=Path("/stack/clock"),
    )


def test_every_parameter_is_one_of_the_template() -> None:
    template = yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), _Template)  # noqa: S506 - a SafeLoader

    assert set(_chosen()) <= set(template["Parameters"])


def test_clients_webhooks_and_outputs_all_stay_on_loopback() -> None:
    chosen = _chosen()

    assert chosen["PublicBaseUrl"] == chosen["WebhookBaseUrl"] == "http://127.0.0.1:4566/local"
    assert chosen["OutputsBaseUrl"] == "http://127.0.0.1:5000"
    assert json.loads(chosen["LocalSettings"]) == {
        "allow_loopback": True,
        "faults_file": "/stack/faults.json",
        "clock_offset_file": "/stack/clock",
    }
